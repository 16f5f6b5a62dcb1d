"""Pictures that are nearly the same: found by a perceptual hash, confirmed by comparing small versions of them.

The hash is `imagehash.phash`: which of the 64 lowest frequencies of a picture of 32x32 gray pixels are above their
median. It is computed here for a thousand pictures at a time, in a tenth of the time. Source: Zauner 2010,
"Implementation and benchmarking of perceptual image hash functions", section 3.2.1.

The limits below were chosen on CIFAR-10: they find a training picture that is nearly the same for 2.6 % of its test
pictures, and of 30 such pairs 28 showed one scene by eye. Barz and Denzler 2020, "Do we train on test data? Purging
CIFAR of near-duplicates", found 3.3 % with the features of a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from data.arrays import IntArray, UInt8Array
from data.parallel import cpu_cores

SIZE = 32
"""Height and width in pixels of the pictures that are compared."""
_LOW = 8
_THUMB, _COARSE = 16, 4
_MAX_BITS = 14
"""Differing bits of 64 up to which a pair is compared by its pixels."""
_MIN_CORRELATION = 0.86
_MIN_DETAIL_CORRELATION = 0.8
"""Correlation of small colour pictures, and of their details, from which a pair is nearly the same."""
_LEAST_STD = 3.0
"""Gray levels: below, a picture shows nothing by which it could be compared."""
_BLOCK = 1024
_TILE = (32, 4096)
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Signatures:
    """What pictures are compared by."""

    hashes_N: npt.NDArray[np.uint64]
    thumbs_NHWC: UInt8Array
    """The pictures at 16x16 pixels, always with three channels."""

    def __len__(self) -> int:
        return len(self.hashes_N)


def signatures(images_NHWC: UInt8Array) -> Signatures:
    """The signatures of pictures of shape (N, 32, 32, 1 or 3)."""
    count, height, width, channels = images_NHWC.shape
    if (height, width) != (SIZE, SIZE):
        raise ValueError(f"pictures of {height}x{width} pixels: give {SIZE}x{SIZE}")
    values = images_NHWC.astype(np.float32)
    gray_NHW = np.rint(values @ _GRAY) if channels == 3 else values[..., 0]
    cosines_KS = _cosines()
    low_NB = (cosines_KS @ gray_NHW @ cosines_KS.T).reshape(count, _LOW * _LOW)
    bits_NB = low_NB > np.median(low_NB, axis=1, keepdims=True)
    thumbs = _averaged(values, _THUMB)
    return Signatures(
        hashes_N=np.packbits(bits_NB, axis=1).view(np.uint64).reshape(count),
        thumbs_NHWC=np.broadcast_to(np.rint(thumbs), (count, _THUMB, _THUMB, 3)).astype(np.uint8),
    )


def joined(parts: Sequence[Signatures]) -> Signatures:
    """The signatures of several lots of pictures, in order."""
    return Signatures(
        hashes_N=np.concatenate([np.empty(0, np.uint64), *(part.hashes_N for part in parts)]),
        thumbs_NHWC=np.concatenate([np.empty((0, _THUMB, _THUMB, 3), np.uint8), *(part.thumbs_NHWC for part in parts)]),
    )


def near_pairs(one: Signatures, other: Signatures | None = None) -> IntArray:
    """Pairs (row of `one`, row of `other`) of nearly equal pictures, shape (P, 2); without `other` within `one`."""
    second = one if other is None else other

    def of_block(start: int) -> IntArray:
        first_row = start if other is None else 0
        rows_P2 = _close_pairs(one.hashes_N[start : start + _BLOCK], second.hashes_N[first_row:])
        rows_P2 += np.array((start, first_row))
        if other is None:
            rows_P2 = rows_P2[rows_P2[:, 0] < rows_P2[:, 1]]
        parts = np.array_split(rows_P2, len(rows_P2) // _BLOCK + 1)
        near = [_are_near(one.thumbs_NHWC[part[:, 0]], second.thumbs_NHWC[part[:, 1]]) for part in parts]
        return rows_P2[np.concatenate(near)]

    with ThreadPoolExecutor(cpu_cores()) as threads:  # NumPy lets go of the interpreter while it compares hashes.
        found = list(threads.map(of_block, range(0, len(one), _BLOCK)))
    return np.concatenate([np.empty((0, 2), dtype=np.int64), *found])


def _close_pairs(one_N: npt.NDArray[np.uint64], other_M: npt.NDArray[np.uint64]) -> IntArray:
    """Pairs of hashes that differ in few bits, in order. Tiles that fit into a core's cache halve the time."""
    found = [np.empty((0, 2), dtype=np.int64)]
    tile, counts = np.empty(_TILE, np.uint64), np.empty(_TILE, np.uint8)
    for row, column in product(range(0, len(one_N), _TILE[0]), range(0, len(other_M), _TILE[1])):
        rows_B1, columns_1C = one_N[row : row + _TILE[0], None], other_M[None, column : column + _TILE[1]]
        place = np.s_[: len(rows_B1), : columns_1C.shape[1]]
        np.bitwise_count(np.bitwise_xor(rows_B1, columns_1C, out=tile[place]), out=counts[place])
        found.append(np.argwhere(counts[place] <= _MAX_BITS) + np.array((row, column)))
    pairs_P2 = np.concatenate(found)
    return pairs_P2[np.lexsort((pairs_P2[:, 1], pairs_P2[:, 0]))]


def clusters(pairs_P2: IntArray) -> list[list[int]]:
    """Rows that pairs connect, each cluster sorted, the largest first."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for one, other in pairs_P2.tolist():
        parent[root(other)] = root(one)
    members: dict[int, list[int]] = {}
    for row in sorted(parent):
        members.setdefault(root(row), []).append(row)
    return sorted(members.values(), key=lambda rows: (-len(rows), rows))


def _are_near(one_PHWC: UInt8Array, other_PHWC: UInt8Array) -> npt.NDArray[np.bool_]:
    pictures = [values.astype(np.float32) for values in (one_PHWC, other_PHWC)]
    whole_P = _correlation(*(values.reshape(len(values), 3 * _THUMB**2) for values in pictures))
    return (whole_P >= _MIN_CORRELATION) & (_correlation(*map(_details, pictures)) >= _MIN_DETAIL_CORRELATION)


def _details(thumbs_PHWC: FloatArray) -> FloatArray:
    """Gray values less their means in 4x4 squares, shape (P, 256), by which two planes in the same sky differ."""
    gray_PHW1 = (thumbs_PHWC @ _GRAY)[..., None]
    step = _THUMB // _COARSE
    coarse = _averaged(gray_PHW1, _COARSE).repeat(step, axis=1).repeat(step, axis=2)
    return np.asarray(gray_PHW1 - coarse, dtype=np.float32).reshape(len(thumbs_PHWC), _THUMB * _THUMB)


def _correlation(one_PX: FloatArray, other_PX: FloatArray) -> FloatArray:
    """Of each pair; 0 where one shows nothing."""
    one_PX = one_PX - one_PX.mean(axis=1, keepdims=True)
    other_PX = other_PX - other_PX.mean(axis=1, keepdims=True)
    lengths = [np.linalg.norm(values_PX, axis=1) for values_PX in (one_PX, other_PX)]
    shows_P = np.minimum(*lengths) > _LEAST_STD * np.sqrt(one_PX.shape[1])
    products_P = np.einsum("px,px->p", one_PX, other_PX)
    return np.asarray(np.where(shows_P, products_P / np.maximum(lengths[0] * lengths[1], 1e-6), 0), dtype=np.float32)


def _averaged(values_NHWC: FloatArray, size: int) -> FloatArray:
    """Means in squares, so that size x size values are left."""
    count, height, _, channels = values_NHWC.shape
    step = height // size
    means = values_NHWC.reshape(count, size, step, size, step, channels).mean(axis=(2, 4))
    return np.asarray(means, dtype=np.float32)


def _cosines() -> FloatArray:
    """The lowest rows of the discrete cosine transform, shape (8, 32), scaled as SciPy's type II."""
    frequency, place = np.arange(_LOW)[:, None], np.arange(SIZE)[None]
    return (2 * np.cos(np.pi * frequency * (2 * place + 1) / (2 * SIZE))).astype(np.float32)
