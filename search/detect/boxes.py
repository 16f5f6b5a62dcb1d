"""Draws boxes, classes and scores into a picture."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torchvision.utils import draw_bounding_boxes

from data.arrays import UInt8Array
from models.detector import Detection

_COLORS = ("#1b6ca8", "#c0392b", "#1e8449", "#9a5b00", "#7d3c98", "#00707a", "#b0306a", "#4d5a00", "#5b4636", "#34495e")
"""Colours of the boxes, dark enough for white letters."""
_LETTERS_SHARE, _SMALLEST_LETTERS_PX = 1 / 40, 12
_LINE_SHARE = 1 / 250


def draw_detections(picture_HWC: UInt8Array, found: Sequence[Detection]) -> UInt8Array:
    """A copy of the picture with a box around each object; a class has the same colour in every picture."""
    if not found:
        return picture_HWC
    last_on_top = found[::-1]  # The highest score is drawn last.
    colors = [_COLORS[zlib.crc32(one.label.encode()) % len(_COLORS)] for one in last_on_top]
    side = max(picture_HWC.shape[:2])
    drawn_CHW = draw_bounding_boxes(
        torch.from_numpy(picture_HWC).permute(2, 0, 1),
        torch.tensor([one.box for one in last_on_top]),
        labels=[f"{one.label} {one.score:.0%}" for one in last_on_top],
        colors=colors,
        width=max(1, round(side * _LINE_SHARE)),
        font=str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"),
        font_size=max(_SMALLEST_LETTERS_PX, round(side * _LETTERS_SHARE)),
        label_colors="white",
        label_background_colors=colors,
        fill_labels=True,
    )
    return np.ascontiguousarray(drawn_CHW.permute(1, 2, 0).numpy())
