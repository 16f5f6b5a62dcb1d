"""The confusion matrix, readable for two classes and for more than a hundred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data.arrays import IntArray
from search.pictures.predictions import Predictions
from search.pictures.sheet import INK, Sheet, elide

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COUNTED_CLASSES = 30
"""Largest number of classes for which the cells have room for their counts."""
_NAME_CHARACTERS = 24
_SIDE_IN = 7.5
_LARGEST_CELL_IN, _SMALLEST_CELL_IN = 1.2, 0.12
_POINTS_PER_IN = 72
_NAMED_CONFUSIONS = 5


def confusion_picture(predictions: Predictions) -> Sheet:
    """The confusion matrix: rows are true classes, columns are predicted classes."""
    classes = len(predictions.classes)
    counts_CC = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts_CC, (predictions.labels_N, predictions.predicted_N), 1)
    caption = (
        f"{len(predictions):,} {predictions.source}. Rows: true class; columns: predicted class; colour: share of the "
        f"row. {_worst_confusions(counts_CC, predictions.classes)}"
    )
    names = [elide(name, _NAME_CHARACTERS) for name in predictions.classes]
    cell_in = max(min(_LARGEST_CELL_IN, _SIDE_IN / classes), _SMALLEST_CELL_IN)
    side_in = cell_in * classes
    size = min(9.0, 0.6 * _POINTS_PER_IN * cell_in)
    longest_in = 0.66 * size / _POINTS_PER_IN * max(map(len, names))
    names_in = 0.2 + longest_in
    sheet = Sheet(
        "Confusion matrix", caption, width_in=max(names_in + side_in + 0.9, 7), height_in=max(side_in, 2) + names_in
    )
    axes = sheet.axes(names_in, 0, side_in, side_in)
    _draw_matrix(axes, sheet.axes(names_in + side_in + 0.2, 0, 0.15, max(min(side_in, 3), 2)), counts_CC)
    rotation = 0 if longest_in < cell_in else 90
    axes.set_xticks(range(classes), names, rotation=rotation, size=size, parse_math=False)
    axes.set_yticks(range(classes), names, size=size, parse_math=False)
    if classes <= _COUNTED_CLASSES:
        digits = len(str(counts_CC.max()))
        _write_counts(axes, counts_CC, size=min(size, _POINTS_PER_IN * cell_in / (0.75 * digits)))
    return sheet


def _draw_matrix(axes: Axes, bar_axes: Axes, counts_CC: IntArray) -> None:
    from matplotlib.colors import PowerNorm

    # On a linear scale, a rare confusion would look as white as none.
    image = axes.imshow(_shares(counts_CC), cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    axes.tick_params(length=0)
    axes.figure.colorbar(image, cax=bar_axes, format="{x:.0%}", ticks=[0, 0.05, 0.2, 0.5, 1])
    bar_axes.tick_params(labelsize=8)


def _write_counts(axes: Axes, counts_CC: IntArray, *, size: float) -> None:
    shares_CC = _shares(counts_CC)
    for row, column in np.argwhere(counts_CC):
        color = "white" if shares_CC[row, column] > 0.4 else INK
        axes.text(column, row, str(counts_CC[row, column]), ha="center", va="center", size=size, color=color)


def _shares(counts_CC: IntArray) -> npt.NDArray[np.float64]:
    """Shares of each row; zeros for a class without images."""
    return np.asarray(counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1))


def _worst_confusions(counts_CC: IntArray, classes: Sequence[str]) -> str:
    mistakes_CC = counts_CC - np.diag(np.diag(counts_CC))
    worst = np.argsort(-mistakes_CC, axis=None, kind="stable")[:_NAMED_CONFUSIONS]
    pairs = [divmod(int(cell), len(classes)) for cell in worst if mistakes_CC.flat[cell]]
    if not pairs:
        return "No image was misclassified."
    named = [f"{classes[truth]} as {classes[answer]} ({mistakes_CC[truth, answer]})" for truth, answer in pairs]
    return f"Most frequent mistakes: {', '.join(named)}."
