"""The full range of 16-bit colour pictures (PNG and TIFF), of which Pillow's own modes keep the upper 8 bits.

Pillow unpacks such a picture by a raw mode, e.g. `RGB;16B`, that takes the upper byte of each value. The raw mode of
the other byte order takes the lower byte, so opening a picture twice gives both.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
from PIL import Image

from data.arrays import UInt8Array

_MODES = ("RGB", "RGBA")
_OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


def is_wide_color(image: Image.Image) -> bool:
    """Return whether a picture that was opened, but not loaded, has 16-bit colour values.

    False for a picture with one transparent colour (PNG's tRNS), which Pillow matches by 8 bits.
    """
    has_own_order = _raw_mode(image).partition(";")[2] in _OTHER_ORDER
    return image.mode in _MODES and has_own_order and "transparency" not in image.info


def read_wide_color(image: Image.Image, again: Image.Image) -> npt.NDArray[np.uint16]:
    """Return the values of a 16-bit colour picture in shape (H, W, 3), or (H, W, 4) with alpha.

    `image` and `again` are the same file opened twice, both not loaded yet.
    """
    colors, _, order = _raw_mode(again).partition(";")
    again.tile = [  # type: ignore[attr-defined]
        tile._replace(args=_with_raw_mode(tile.args, f"{colors};{_OTHER_ORDER[order]}"))
        for tile in again.tile  # type: ignore[attr-defined]
    ]
    upper_HWC, lower_HWC = np.asarray(image, dtype=np.uint16), np.asarray(again, dtype=np.uint16)
    return (upper_HWC << np.uint16(8)) | lower_HWC


def alpha_to_8_bits(alpha_HW1: npt.NDArray[np.uint16]) -> UInt8Array:
    """Scale 16-bit alpha values to 0..255."""
    return np.rint(alpha_HW1 / 257).astype(np.uint8)


def _raw_mode(image: Image.Image) -> str:
    for tile in getattr(image, "tile", ()):
        args = tile.args
        return str(args[0] if isinstance(args, tuple) else args)
    return ""


def _with_raw_mode(args: object, raw_mode: str) -> object:
    return (raw_mode, *args[1:]) if isinstance(args, tuple) else raw_mode
