"""What all pages of the report share: their style, and a collector for their parts and figures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, count
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from search.report.figures.style import Plot
from search.report.metric import signed

_HERE = Path(__file__).parent
STYLE = (_HERE / "page.css").read_text("utf-8")
"""The style of the report, which other pages share."""
TEMPLATES = Environment(
    loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
"""The templates of the report; compiled once, because the live page renders them every few seconds."""
TEMPLATES.globals["signed"] = signed


@dataclass(frozen=True, kw_only=True)
class Page:
    """A rendered page, whole and in the pieces that the live page updates separately."""

    html: str
    parts: Mapping[str, str]
    """The HTML element of each part by its name, in their order on the page."""
    figures: Mapping[str, str]
    """Each figure as JSON, by the id of the element that shows it."""


class Pieces:
    """Collects the parts of a page and their figures while its template renders."""

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.figures: dict[str, str] = {}
        self._part = "page"

    def render(self, template: str | Template, **content: object) -> str:
        """Render a template of `TEMPLATES`, which calls `part` and `place`."""
        found = TEMPLATES.get_template(template)
        return found.render(place=self.place, part=self.part, pieces=self, plotly=Markup(_plotlyjs()), **content)

    def part(self, name: str, caller: Callable[[], str], tag: str = "div") -> Markup:
        """A part of the page: the HTML of the template's block, in an element that carries the part's name."""
        self._part = name
        html = Markup(f'<{tag} data-part="{name}">\n{caller()}</{tag}>\n')
        self.parts[name] = str(html)
        return html

    def place(self, plot: Plot) -> str:
        """Add a figure; returns the id of the element in which the page draws it.

        The id depends on the part and the title only, so that a later page of the same study has the same ids.
        """
        wanted = f"{self._part}-{re.sub(r'[^a-z0-9]+', '-', plot.title.lower()).strip('-')}"
        numbered = (f"{wanted}-{number}" for number in count(2))
        name = next(name for name in chain([wanted], numbered) if name not in self.figures)
        self.figures[name] = f'{{"id":{json.dumps(name)},{plot.json.removeprefix("{")}'
        return name

    def to_json(self) -> Markup:
        """All figures added so far as JSON that is safe inside a script element."""
        return Markup(f"[{','.join(self.figures.values())}]".replace("<", "\\u003c"))


@cache
def _plotlyjs() -> str:
    return str(get_plotlyjs())
