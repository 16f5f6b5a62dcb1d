"""Decoding many files at once, in order, on all cores; what cannot be read is told apart, up to a point."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np

from data.arrays import IntArray, UInt8Array
from data.decode import PixelFormat, UnreadableImage, decode_file, pillow_warnings
from data.errors import UserError
from data.layout import ImageFile, Layout
from data.parallel import map_files
from data.progress import Progress

_TOLERATED_SHARE = 0.01
_CHUNK_BYTES = 4 * 2**20
"""Of decoded pictures: what a thread works on at a time."""


class DecodedChunk(NamedTuple):
    """Some consecutive pictures, as in `data.pixels.Pixels`."""

    images_NHWC: UInt8Array
    sums_N2C: IntArray
    unreadable: dict[str, str]


def decode_files(
    layout: Layout, files: Sequence[ImageFile], pixel_format: PixelFormat, progress: Progress | None
) -> Generator[DecodedChunk]:
    """Decode `files` in order on all cores; an unreadable one gives a black picture and its reason.

    To be closed by whoever stops early: warning filters are changed until then.
    """

    def decode_chunk(chunk: Sequence[ImageFile]) -> DecodedChunk:
        images_NHWC = np.zeros((len(chunk), *pixel_format.shape), dtype=np.uint8)
        unreadable = {}
        for row, file in enumerate(chunk):
            try:
                images_NHWC[row] = decode_file(layout, file, pixel_format)
            except UnreadableImage as error:
                unreadable[file.name] = str(error)
        return DecodedChunk(images_NHWC, _channel_sums(images_NHWC), unreadable)

    chunk_size = max(1, min(64, _CHUNK_BYTES // math.prod(pixel_format.shape)))
    with pillow_warnings():
        yield from map_files(decode_chunk, files, label="decoding images", progress=progress, chunk_size=chunk_size)


def check_unreadable(unreadable: dict[str, str], files: int, where: str) -> None:
    """Raise UserError where more than 1 % of so many files are unreadable; a single one is always forgiven."""
    if len(unreadable) > max(1, int(_TOLERATED_SHARE * files)):
        name, reason = next(iter(unreadable.items()))
        raise UserError(
            f"{where}: {len(unreadable)} of {files} images are unreadable, more than 1 %; "
            f"the first is {name} ({reason}); repair or remove them"
        )


def _channel_sums(images_NHWC: UInt8Array) -> IntArray:
    """Sums of values and of squares, shape (N, 2, C): exact, as no sum of these integers exceeds a float64's 2^53."""
    values_NPC = images_NHWC.reshape(len(images_NHWC), -1, images_NHWC.shape[-1]).astype(np.float64)
    # As products with ones: four times as fast as sums over an axis that is not the last.
    ones_1P = np.ones((1, values_NPC.shape[1]))
    return np.concatenate((ones_1P @ values_NPC, ones_1P @ np.square(values_NPC)), axis=1).astype(np.int64)
