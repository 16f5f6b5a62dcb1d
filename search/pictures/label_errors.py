"""A gallery of the images whose labels are probably wrong."""

from __future__ import annotations

from search.pictures.grids import COLUMNS, TILE_IN, name_tile, tile_places
from search.pictures.sheet import WRONG, Sheet, elide
from search.verdict.held_out import HeldOut

_SHOWN = 30
_ROW_IN = TILE_IN + 0.56


def label_errors_picture(found: HeldOut | None) -> Sheet | None:
    """The most suspicious images with their labels and what the finalists suggest; None without any."""
    if found is None or not found.errors:
        return None
    shown = found.errors[:_SHOWN]
    confident = sum(error.is_confident for error in found.errors)
    caption = (
        f"Of {found.images:,} images that finalists had not been trained on, {confident:,} have a label that is "
        f"probably wrong (confident learning, Northcutt et al. 2021); the {len(shown)} most suspicious are shown. "
        "First line: label; second line: suggested class and its probability. All are listed in label-errors.csv."
    )
    rows = -(-len(shown) // COLUMNS)
    sheet = Sheet(
        "Probable label errors", caption, width_in=COLUMNS * (TILE_IN + 0.12) - 0.12, height_in=rows * _ROW_IN
    )
    places = tile_places(len(shown), _ROW_IN)
    for error, pixels_HWC, (left_in, top_in) in zip(shown, found.pictures(len(shown)), places, strict=True):
        sheet.tile(left_in, top_in, TILE_IN, pixels_HWC)
        style = {"size": 8, "horizontalalignment": "center", "verticalalignment": "top"}
        middle_in, below_in = left_in + TILE_IN / 2, top_in + TILE_IN
        sheet.text(middle_in, below_in + 0.05, elide(error.label, 16), **style)
        suggestion = f"{elide(error.suggestion, 12)}, {error.suggested_probability:.0%}"
        sheet.text(middle_in, below_in + 0.2, suggestion, color=WRONG, weight="bold", **style)
        name_tile(sheet, error.name, left_in, below_in)
    return sheet
