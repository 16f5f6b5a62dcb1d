"""Precision, recall and F1 of every class."""

from __future__ import annotations

from search.pictures.predictions import Predictions
from search.pictures.sheet import FAINT, INK, RIGHT, WRONG, Sheet, elide
from search.verdict.scores import score

_ROW_IN = 0.22
_PLOT_IN = 5.0
_SHOWN_CLASSES = 150
"""Largest number of classes that are shown: the lowest F1 scores matter most."""
_NAME_CHARACTERS = 28
_MARKERS = {"precision": (">", WRONG), "recall": ("<", RIGHT), "f1": ("o", INK)}


def class_scores_picture(predictions: Predictions) -> Sheet:
    """A row for each class, best F1 first."""
    result = score(predictions.labels_N, predictions.predicted_N, predictions.classes)
    rows = sorted(result.per_class, key=lambda row: -row.f1)
    hidden = len(rows) - _SHOWN_CLASSES
    rows = rows if hidden <= 0 else rows[-_SHOWN_CLASSES:]
    part = f"; the {hidden:,} classes with the best F1 are not shown" if hidden > 0 else ""
    names = [elide(row.name, _NAME_CHARACTERS) for row in rows]
    names_in = 0.2 + 0.085 * max(len(name) for name in names)
    low, high = result.interval
    caption = (
        f"{len(predictions):,} {predictions.source}, best F1 first{part}. Accuracy {result.accuracy:.1%} (95 % "
        f"interval {low:.1%} to {high:.1%}), macro-F1 {result.macro_f1:.3f}."
    )
    height_in = _ROW_IN * len(rows)
    sheet = Sheet("Scores per class", caption, width_in=names_in + _PLOT_IN + 1.2, height_in=height_in + 0.75)
    axes = sheet.axes(names_in, 0.25, _PLOT_IN, height_in)
    places = range(len(rows))
    values = {key: [getattr(row, key) for row in rows] for key in _MARKERS}
    for key, (marker, color) in _MARKERS.items():
        axes.plot(values[key], places, marker, color=color, label="F1" if key == "f1" else key, clip_on=False, zorder=3)
    lowest, highest = (list(map(end, *values.values())) for end in (min, max))
    axes.hlines(places, lowest, highest, color=FAINT, linewidth=1)
    axes.set_yticks(places, names, size=9, parse_math=False)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="precision, recall, F1")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=9, borderaxespad=0)
    right_in = names_in + _PLOT_IN + 0.15
    sheet.text(right_in, 0.12, "images", size=9, verticalalignment="center", color=FAINT)
    for place, row in enumerate(rows):
        middle_in = 0.25 + (place + 0.5) * _ROW_IN
        sheet.text(right_in, middle_in, f"{row.support:,}", size=9, verticalalignment="center")
    return sheet
