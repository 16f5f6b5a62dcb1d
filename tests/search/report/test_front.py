from __future__ import annotations

from dataclasses import replace

from search.report.figures.front import front_plot
from tests.search.report.conftest import MadeStudy


def test_a_stage_with_two_aims_shows_its_front_and_one_with_a_single_aim_does_not(unfinished: MadeStudy) -> None:
    facts = unfinished.facts()
    stage = facts.stages[0]
    assert front_plot(stage, facts.metric) is None
    plot = front_plot(replace(stage, pinned=replace(stage.pinned, against="parameters")), facts.metric)
    assert plot is not None
    every, front = plot.figure.data
    assert len(every.x) == len(stage.complete)
    assert max(front.y) == stage.snapshot.best and min(front.x) == min(every.x)
    assert set(front.text) < set(every.text)
