"""The first conv layer's filters and responses, and the feature maps of all conv layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from models.inspect import feature_maps, filter_responses, first_conv_name, first_filters
from models.inspect.as_found import FloatArray
from search.pictures.sheet import FAINT, Sheet
from search.pictures.subject import Subject

_FILTERS = 64
_FILTER_IN = 0.55
_IMAGE_IN = 1.6
_HEADING_IN = 0.25
_LAYERS = 20
_MAPS = 12
_MAP_IN = 0.95
_GAP_IN = 0.05
_TINY = float(np.finfo(np.float32).tiny)


def first_layer_picture(subject: Subject) -> Sheet:
    """The filters and, in a second block at the same positions, their responses; 8 by 8 for 64 filters."""
    filters_FCHW = first_filters(subject.model)
    responses_FHW = filter_responses(subject.model, subject.image_1CHW)
    count = min(len(filters_FCHW), _FILTERS)
    columns = math.isqrt(count - 1) + 1
    in_color = filters_FCHW.shape[1] == 3
    which = f"all {count}" if count == len(filters_FCHW) else f"the first {count} of {len(filters_FCHW)}"
    caption = (
        f"{first_conv_name(subject.model)}: {which} filters and, at the same positions, their responses before norm "
        f"and activation. Blue: negative, white: 0, red: positive; each tile has its own scale"
        f"{'. Filters are shown as colours around gray' if in_color else ''}. {subject.which}."
    )
    step_in = _FILTER_IN + _GAP_IN
    block_in = columns * step_in + 0.35
    filters_in, responses_in = _IMAGE_IN + 0.4, _IMAGE_IN + 0.4 + block_in
    height_in = _HEADING_IN + max(-(-count // columns) * step_in, _IMAGE_IN)
    title = "First conv layer: filters and responses"
    sheet = Sheet(title, caption, width_in=responses_in + block_in, height_in=height_in)
    for heading, left_in in (("image", 0.0), ("filters", filters_in), ("responses", responses_in)):
        sheet.text(left_in, _HEADING_IN - 0.1, heading, size=9, color=FAINT)
    sheet.tile(0, _HEADING_IN, _IMAGE_IN, subject.pixels_HWC)
    for index in range(count):
        row, column = divmod(index, columns)
        weights = around_gray(filters_FCHW[index]) if in_color else filters_FCHW[index, 0]
        for left_in, tile in ((filters_in, weights), (responses_in, responses_FHW[index])):
            sheet.tile(left_in + column * step_in, _HEADING_IN + row * step_in, _FILTER_IN, tile, **_signed(tile))
    return sheet


def feature_maps_picture(subject: Subject) -> Sheet:
    """A row for each conv layer with the feature maps that vary most over the image."""
    maps = feature_maps(subject.model, subject.image_1CHW)
    layers = {name: maps_1KHW[0] for name, maps_1KHW in maps.items() if maps_1KHW[0, 0].size > 1}
    shown = _spread(layers)
    which = "Every conv layer" if len(shown) == len(layers) else f"{len(shown)} of {len(layers)} conv layers"
    caption = (
        f"{subject.which}. {which}, after the norm and activation that follow directly; up to {_MAPS} maps of each "
        f"layer, those that vary most. Dark: low, bright: high; each map has its own scale."
    )
    names_in = _IMAGE_IN + 0.3
    maps_in = names_in + 0.3 + max(1.1, 0.08 * max(map(len, shown)))
    step_in = _MAP_IN + _GAP_IN
    height_in = max(_IMAGE_IN, len(shown) * step_in)
    sheet = Sheet("Feature maps", caption, width_in=maps_in + _MAPS * step_in, height_in=height_in)
    sheet.tile(0, 0, _IMAGE_IN, subject.pixels_HWC)
    for row, (name, maps_KHW) in enumerate(shown.items()):
        middle_in = (row + 0.5) * step_in
        channels, height, width = maps_KHW.shape
        sheet.text(names_in, middle_in, name, size=9, weight="bold")
        sheet.text(names_in, middle_in + 0.2, f"{channels} maps, {height}x{width}", size=8, color=FAINT)
        busiest = np.argsort(-maps_KHW.std(axis=(1, 2)), kind="stable")[:_MAPS]
        for column, channel in enumerate(busiest):
            sheet.tile(maps_in + column * step_in, row * step_in, _MAP_IN, maps_KHW[channel], cmap="viridis")
    return sheet


def around_gray(values_CHW: FloatArray) -> FloatArray:
    """Signed values of three channels as colours (H, W, C): 0 is gray; the largest 0.5 % are clipped."""
    scale = max(float(np.quantile(np.abs(values_CHW), 0.995)), _TINY)
    return np.asarray(0.5 + np.clip(values_CHW.transpose(1, 2, 0) / scale, -1, 1) / 2)


def _signed(tile: FloatArray) -> dict[str, Any]:
    """The colour map of a tile of signed values; empty for a tile that has colours already."""
    if tile.ndim == 3:
        return {}
    largest = max(float(np.abs(tile).max()), _TINY)
    return {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}


def _spread(layers: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """As many layers as the picture has room for, evenly spaced from the first to the last."""
    names = list(layers)
    picked = np.unique(np.linspace(0, len(names) - 1, min(len(names), _LAYERS)).round().astype(int))
    return {names[index]: layers[names[index]] for index in picked}
