"""Ranges on the axes of parallel coordinates, as a reader selects them in a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.report.figures.space import parallel_coordinates
from search.report.pieces import TEMPLATES, Pieces
from search.report.spaces import parameters_of
from tests.search.report.browser import Browser
from tests.search.report.conftest import MadeStudy

PLOT = "document.getElementById('stage-1-parallel-coordinates')"
FIGURE = f"{PLOT}.closest('figure')"
FOCUSED = "document.activeElement"
TEMPLATE = """{% from "macros.html.j2" import plot with context %}<!doctype html>
<style>{% include "page.css" %}</style>
{% call part("stage-1") %}{{ plot(figure) }}{% endcall %}
<script type="application/json" id="figures">{{ pieces.to_json() }}</script><script>{{ plotly }}</script>
<script>{% include "page_ranges.js" %}{% include "page.js" %}</script>"""


@pytest.fixture(scope="module")
def parallel(made: MadeStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with the parallel coordinates of the first stage and nothing else."""
    facts = made.facts()
    stage = facts.stages[0]
    rows = stage.trials[stage.trials["value"].notna()]
    parameters = parameters_of(stage.optuna_trials)
    figure = parallel_coordinates(stage.params.loc[rows.index], rows["value"], parameters, facts.metric)
    pieces = Pieces()
    page = pieces.render(TEMPLATES.from_string(TEMPLATE), figure=figure)
    path = tmp_path_factory.mktemp("parallel") / "page.html"
    path.write_text(page, "utf-8")
    return path


@pytest.fixture(scope="module")
def browser(parallel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that shows the page. Every test leaves it without a selection."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("needs chromium")
    with Browser(executable, tmp_path_factory.mktemp("profile")) as opened:
        opened.show(parallel.as_uri(), width=1280)
        yield opened


def selected(browser: Browser, axis: str) -> list[float] | None:
    """The range that is selected on an axis of the first stage's parallel coordinates, once all is drawn."""
    browser.wait_for("document.documentElement.dataset.drawn > 0")
    found: list[float] | None = browser.evaluate(
        f"{PLOT}.data[0].dimensions.find(axis => axis.label === {axis!r}).constraintrange ?? null"
    )
    return found


def test_a_range_of_an_axis_is_selected_by_keyboard_alone(browser: Browser) -> None:
    browser.evaluate(f"{PLOT}.closest('.wide').focus()")
    browser.press("Tab")
    assert browser.evaluate(f"{FOCUSED}.tagName") == "SUMMARY"
    assert not browser.evaluate(f"{FIGURE}.querySelector('details').open")
    browser.press("Enter")
    browser.press("Tab")
    assert browser.evaluate(f"{FOCUSED}.ariaLabel") == "accuracy, from"
    assert browser.evaluate(f"getComputedStyle({FOCUSED}).outlineStyle") == "solid"
    assert selected(browser, "accuracy") is None
    browser.press("PageUp", 5)
    browser.press("ArrowLeft")
    low, high = selected(browser, "accuracy") or (0, 0)
    values = browser.evaluate(f"{PLOT}.data[0].dimensions[0].values")
    assert high == max(values) and low == pytest.approx(min(values) + 0.49 * (max(values) - min(values)))
    assert browser.evaluate(f"{FOCUSED}.getAttribute('aria-valuetext')") == f"{100 * low:.1f} %"
    status = f"{FIGURE}.querySelector('[role=status]').textContent"
    count = sum(value >= low for value in values)
    assert 0 < count < len(values)
    assert browser.evaluate(status) == f"{count} of {len(values)} trials selected."
    browser.press("Tab")
    browser.press("PageDown", 9)  # Past the lower end, which it pushes.
    assert selected(browser, "accuracy") == pytest.approx([min(values) + 0.1 * (max(values) - min(values))] * 2)
    browser.press("Escape")
    assert selected(browser, "accuracy") is None and browser.evaluate(status) == ""


def test_sliders_follow_the_mouse_and_clear_its_selection(browser: Browser) -> None:
    browser.evaluate(f"{FIGURE}.querySelector('details').open = true")
    browser.evaluate(f"{PLOT}.scrollIntoView()")
    names = browser.evaluate(f"{PLOT}.data[0].dimensions.map(axis => axis.label)")
    axis = f"{PLOT}.querySelectorAll('.axis-brush .background')[{names.index('dropout')}].getBoundingClientRect()"
    x, y, height = browser.evaluate(f"(box => [box.x + box.width / 2, box.y, box.height])({axis})")
    browser.drag((x, y + 0.1 * height), (x, y + 0.4 * height))
    field = f"{FIGURE}.querySelector('[data-axis=dropout]')"
    low, high = selected(browser, "dropout") or (0, 0)
    assert 0.15 < low < 0.2 and 0.25 < high < 0.28
    shown = browser.evaluate(
        f"[...{field}.querySelectorAll('input')].map(input => input.getAttribute('aria-valuetext'))"
    )
    assert [float(text) for text in shown] == pytest.approx([low, high], abs=0.002)
    browser.evaluate(f"{field}.querySelector('input').focus()")
    browser.press("Escape")
    assert selected(browser, "dropout") is None
    assert browser.evaluate(f"{field}.querySelector('legend').textContent") == "dropout all"
    assert browser.evaluate(f"{PLOT}._fullData[0].dimensions.every(axis => !axis.constraintrange)")


def test_a_selection_keeps_its_option_and_its_end_of_the_axis_when_trials_are_added(browser: Browser) -> None:
    before = [
        {"label": "value", "values": [1.5, 2.5], "constraintrange": [2.0, 2.5]},
        {"label": "act", "values": [0, 1], "tickvals": [0, 1], "ticktext": ["gelu", "relu"], "constraintrange": [1, 1]},
        {
            "label": "lr",
            "values": [-3, -2],
            "tickvals": [-3, -2],
            "ticktext": ["1e-3", "0.01"],
            "constraintrange": [-3, -3],
        },
    ]
    after = [
        {"label": "value", "values": [1.5, 2.5, 3.5]},
        {"label": "act", "values": [1, 2, 0], "tickvals": [0, 1, 2], "ticktext": ["elu", "gelu", "relu"]},
        {"label": "lr", "values": [-3, -2, -4], "tickvals": [-4, -3, -2], "ticktext": ["not set", "1e-3", "0.01"]},
    ]
    traces = [{"type": "parcoords", "meta": {"choices": ["act"]}, "dimensions": axes} for axes in (before, after)]
    place, figure = ({"data": [trace]} for trace in traces)
    kept = browser.evaluate(
        f"(figure => (axisRanges.keep({json.dumps(place)}, figure), figure.data[0].dimensions))({json.dumps(figure)})"
    )
    assert [axis["constraintrange"] for axis in kept] == [[2.0, 3.5], [2, 2], [-3, -3]]
