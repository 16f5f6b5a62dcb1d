"""Grids of images with their true and predicted classes."""

from __future__ import annotations

from data.arrays import IntArray
from data.text import shown_name
from search.pictures.predictions import Predictions
from search.pictures.sheet import RIGHT, WRONG, Sheet, elide

COLUMNS = 10
TILE_IN = 1.05
_GAP_IN = 0.12
_LABEL_IN = 0.42
_NAME_IN = 0.14
_LEGEND = "First line: true class; second line: predicted class and its probability (✓ blue: correct, ✗ orange: wrong)."


def prediction_grid(predictions: Predictions) -> Sheet:
    """Thirty images in three rows, with correct and wrong predictions."""
    chosen = predictions.grid
    caption = (
        f"{len(chosen)} of {len(predictions):,} {predictions.source}, drawn with a fixed seed and balanced over the "
        f"true classes. {_LEGEND}"
    )
    return _grid(predictions, chosen, "The champion's predictions", caption)


def mistakes_grid(predictions: Predictions) -> Sheet | None:
    """The most confident mistakes; None if there is no mistake."""
    chosen = predictions.mistakes
    if len(chosen) == 0:
        return None
    wrong = int((~predictions.is_right_N).sum())
    which = f"The {len(chosen)} most confident of {wrong:,}" if len(chosen) < wrong else f"All {wrong}"
    caption = (
        f"{which} mistakes among {len(predictions):,} {predictions.source}, most confident first. "
        f"First line: true class; second line: predicted class and its probability{_file_line(predictions)}."
    )
    return _grid(predictions, chosen, "Most confident mistakes", caption, named=predictions.names_N is not None)


def _file_line(predictions: Predictions) -> str:
    return "" if predictions.names_N is None else "; third line: file"


def tile_places(count: int, row_in: float) -> list[tuple[float, float]]:
    """Left and top position, in inches, of each image in rows of ten."""
    return [(index % COLUMNS * (TILE_IN + _GAP_IN), index // COLUMNS * row_in) for index in range(count)]


def label_tile(sheet: Sheet, predictions: Predictions, image: int, left_in: float, top_in: float) -> None:
    """Write an image's true and predicted class below its tile."""
    right = bool(predictions.is_right_N[image])
    truth, answer = (predictions.classes[label[image]] for label in (predictions.labels_N, predictions.predicted_N))
    style = {"size": 8, "horizontalalignment": "center", "verticalalignment": "top"}
    middle_in = left_in + TILE_IN / 2
    sheet.text(middle_in, top_in + 0.05, elide(truth, 16), **style)
    sheet.text(
        middle_in,
        top_in + 0.2,
        f"{'✓' if right else '✗'} {elide(answer, 10)}, {predictions.confidence_N[image]:.0%}",
        color=RIGHT if right else WRONG,
        weight="bold",
        **style,
    )


def name_tile(sheet: Sheet, name: str, left_in: float, top_in: float) -> None:
    """Write the last part of an image's file name below the classes of its tile."""
    shown = elide(shown_name(name.rpartition("/")[2]), 18)
    middle_in = left_in + TILE_IN / 2
    sheet.text(middle_in, top_in + 0.35, shown, size=6, horizontalalignment="center", verticalalignment="top")


def _grid(predictions: Predictions, chosen: IntArray, title: str, caption: str, *, named: bool = False) -> Sheet:
    row_in = TILE_IN + _LABEL_IN + (_NAME_IN if named else 0)
    rows = -(-len(chosen) // COLUMNS)
    sheet = Sheet(title, caption, width_in=COLUMNS * (TILE_IN + _GAP_IN) - _GAP_IN, height_in=rows * row_in)
    images = predictions.images(chosen)
    for image, pixels_HWC, (left_in, top_in) in zip(chosen, images, tile_places(len(chosen), row_in), strict=True):
        frame = RIGHT if predictions.is_right_N[image] else WRONG
        sheet.tile(left_in, top_in, TILE_IN, pixels_HWC, frame)
        label_tile(sheet, predictions, int(image), left_in, top_in + TILE_IN)
        if named and predictions.names_N is not None:
            name_tile(sheet, str(predictions.names_N[image]), left_in, top_in + TILE_IN)
    return sheet
