"""The style that all figures share: colours and marks of the trials' states, layout, title and caption."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

import plotly.graph_objects as go

# Distinguishable with any kind of colour vision (tests/search/report/test_colours.py), on white and on near-black.
# States also differ in their mark.
BLUE, ORANGE, GREEN, PURPLE, RED, GREY = "#3b689f", "#c37300", "#3ba568", "#b850ff", "#fe2150", "#85898f"
STATES = {
    "complete": (BLUE, "circle"),
    "pruned": (GREY, "circle-open"),
    "out of time": (ORANGE, "square-open"),
    "infeasible": (PURPLE, "diamond-open"),
    "failed": (RED, "x"),
    "skipped": (GREY, "line-ew-open"),
    "running": (GREEN, "triangle-up-open"),
    "waiting": (GREY, "triangle-right-open"),
}
BEST = ORANGE
CLEAR = "rgba(0,0,0,0)"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)
DIGITS = 6
"""Significant digits of the numbers in figures; with all 17, the page of a large study has twice the size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plot:
    """A figure with its title and caption."""

    title: str
    caption: str
    """One or two sentences on what the figure compares."""
    usage: str = ""
    """How to use the figure with a mouse, for pages only."""
    figure: go.Figure
    height_px: int = 340
    min_width_px: int = 0
    """Smallest width; on a narrower screen the figure scrolls sideways."""

    has_ranges: bool = False
    """Whether pages show sliders that select ranges on the figure's axes."""

    @cached_property
    def alt(self) -> str:
        """Text for people who do not see the figure: its title, and what its traces show."""
        named = dict.fromkeys(trace.name for trace in self.figure.data if trace.name and trace.showlegend is not False)
        return f"{self.title}: {', '.join(named)}" if named else self.title

    @cached_property
    def json(self) -> str:
        """The figure as JSON, an object with `data` and `layout`."""
        return json.dumps(json.loads(self.figure.to_json(), parse_float=_rounded), separators=(",", ":"))


def _rounded(digits: str) -> float:
    return float(f"{float(digits):.{DIGITS}g}")


def blank(**layout: object) -> go.Figure:
    """An empty figure without plotly's template, because the page applies its own for a light or dark theme."""
    return go.Figure(_BLANK).update_layout(**layout)  # To copy it takes a tenth of the time of making it anew.


_BLANK = go.Figure(
    layout={
        "template": {},
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        "hovermode": "closest",
        "xaxis": {"automargin": True},
        "yaxis": {"automargin": True},
    }
)
