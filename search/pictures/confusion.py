"""The confusion matrix, readable for two classes and for a thousand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data.arrays import IntArray
from data.files import write_csv
from search.pictures.predictions import Predictions
from search.pictures.sheet import INK, Sheet, elide

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COUNTED_CLASSES = 30
"""Largest number of classes for which the cells have room for their counts."""
_SHOWN_CLASSES = 150
"""Largest number of classes that are shown: a figure of 1,200 takes gigabytes, and nobody can read it."""
_NAME_CHARACTERS = 24
_SIDE_IN = 7.5
_LARGEST_CELL_IN, _SMALLEST_CELL_IN = 1.2, 0.12
_POINTS_PER_IN = 72
_NAMED_CONFUSIONS = 5


def confusion_picture(predictions: Predictions) -> Sheet:
    """The confusion matrix: rows are true classes, columns are predicted classes."""
    labels = _most_confused(predictions)
    classes = len(labels)
    place_C = np.full(len(predictions.classes), -1)
    place_C[labels] = range(classes)
    truths_N, answers_N = place_C[predictions.labels_N], place_C[predictions.predicted_N]
    shown_N = (truths_N >= 0) & (answers_N >= 0)
    counts_CC = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts_CC, (truths_N[shown_N], answers_N[shown_N]), 1)
    shown_classes = [predictions.classes[label] for label in labels]
    every = len(predictions.classes)
    part = "" if classes == every else f" Of {every:,} classes, the {classes} with the most mistakes are shown."
    caption = (
        f"{len(predictions):,} {predictions.source}. Rows: true class; columns: predicted class; colour: share of the "
        f"row.{part} {_worst_confusions(counts_CC, shown_classes)}"
    )
    names = [elide(name, _NAME_CHARACTERS) for name in shown_classes]
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


def write_confusion(predictions: Predictions, path: Path) -> None:
    """Write the whole matrix as CSV, a line for each cell that is not 0. Raises UserError if it cannot be written."""
    every = len(predictions.classes)
    cells, counts = np.unique(predictions.labels_N * every + predictions.predicted_N, return_counts=True)
    lines = (
        (predictions.classes[cell // every], predictions.classes[cell % every], count)
        for cell, count in zip(cells.tolist(), counts.tolist(), strict=True)
    )
    write_csv(path, ("true_class", "predicted_class", "images"), lines)


def _most_confused(predictions: Predictions) -> IntArray:
    """The classes that are shown, in their order: all, or those that take part in the most mistakes."""
    every = len(predictions.classes)
    wrong_N = predictions.labels_N != predictions.predicted_N
    mistakes_C = np.bincount(predictions.labels_N[wrong_N], minlength=every)
    mistakes_C += np.bincount(predictions.predicted_N[wrong_N], minlength=every)
    return np.sort(np.argsort(-mistakes_C, kind="stable")[:_SHOWN_CLASSES])


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
