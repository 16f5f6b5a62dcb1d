"""Scores with more classes than a confusion matrix is stored for."""

from __future__ import annotations

import json

import numpy as np

from search.report.figures.outcome import confusion
from search.store.look_result import LookResult
from search.verdict.scores import score, show_mistake


def _scores(classes: int) -> LookResult:
    labels_N = np.repeat(np.arange(classes), 3)
    predicted_N = labels_N.copy()
    predicted_N[0], predicted_N[1], predicted_N[5] = 7, 7, 0
    names = [f"item-{number}" for number in range(classes)]
    return LookResult(**vars(score(labels_N, predicted_N, names)), look=1, classes=tuple(names))


def test_many_classes_are_stored_without_the_zeros_and_read_back() -> None:
    result = _scores(1200)
    assert not result.confusion
    assert len(json.dumps(result.to_json()["cells"])) < 30_000
    assert LookResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    assert show_mistake(result, 0) == "item-7 (2)"
    assert show_mistake(result, 1) == "item-0 (1)"
    assert show_mistake(result, 2) == "-"


def test_few_and_many_classes_give_the_same_figures() -> None:
    few, many = _scores(200), _scores(201)
    assert few.confusion and many.cells
    assert list(few.confusion_cells()) == [cell for cell in many.confusion_cells() if cell[0] < 200]
    assert few.most_confused(3) == many.most_confused(3) == [0, 1, 7]
    assert few.confusion_of([0, 1, 7]) == many.confusion_of([0, 1, 7]) == [[1, 0, 2], [1, 2, 0], [0, 0, 3]]


def test_the_reports_figure_shows_the_most_confused_classes() -> None:
    plot = confusion(_scores(1200))
    assert "The 100 of 1,200 classes with the most mistakes are shown" in plot.caption
    assert len(plot.figure.data[0].z) == 100
