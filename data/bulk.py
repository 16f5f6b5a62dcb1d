"""Decoding many pictures at once; a few unreadable ones are tolerated and listed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from data.arrays import IntArray, UInt8Array
from data.decode import PixelFormat, UnreadableImage, decode_file
from data.errors import UserError

_TOLERATED_SHARE = 0.01
_CHUNK_PICTURES, _CHUNK_BYTES = 64, 4 * 2**20
"""Decoded at a time at most: bounds the memory that a process works in."""


class DecodedChunk(NamedTuple):
    """Some consecutive pictures, as in `data.pixels.Pixels`."""

    images_NHWC: UInt8Array
    sums_N2C: IntArray
    unreadable: dict[str, str]


def decode_chunks(
    read: Callable[[str], bytes], names: Sequence[str], pixel_format: PixelFormat
) -> Iterator[DecodedChunk]:
    """Decode the files of these names in order; an unreadable one gives a black picture and its reason.

    To be used within `data.decode.pillow_warnings`.
    """
    size = max(1, min(_CHUNK_PICTURES, _CHUNK_BYTES // math.prod(pixel_format.shape)))
    for start in range(0, len(names), size):
        chunk = names[start : start + size]
        images_NHWC = np.zeros((len(chunk), *pixel_format.shape), dtype=np.uint8)
        unreadable = {}
        for row, name in enumerate(chunk):
            try:
                images_NHWC[row] = decode_file(read, name, pixel_format)
            except UnreadableImage as error:
                unreadable[name] = str(error)
        yield DecodedChunk(images_NHWC, _channel_sums(images_NHWC), unreadable)


def check_unreadable(unreadable: dict[str, str], files: int, where: str) -> None:
    """Raise UserError where more than 1 % of so many files are unreadable; a single one is always forgiven."""
    if len(unreadable) > max(1, int(_TOLERATED_SHARE * files)):
        name, reason = next(iter(unreadable.items()))
        raise UserError(
            f"{where}: {len(unreadable)} of {files} images are unreadable, more than 1 %; "
            f"the first is {name} ({reason}); repair or remove them"
        )


def _channel_sums(images_NHWC: UInt8Array) -> IntArray:
    """Sums of values and of squares, shape (N, 2, C), exact.

    First down the columns, whose sums fit into 32 bits: six times as fast as in floating point.
    """
    count, height, width, channels = images_NHWC.shape
    rows_NHX = images_NHWC.reshape(count, height, width * channels)
    squares_NHX = np.square(rows_NHX, dtype=np.uint16)
    columns = [values_NHX.sum(axis=1, dtype=np.uint32) for values_NHX in (rows_NHX, squares_NHX)]
    return np.stack(
        [sums_NX.reshape(count, width, channels).sum(axis=1, dtype=np.int64) for sums_NX in columns], axis=1
    )
