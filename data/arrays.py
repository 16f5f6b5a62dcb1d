"""The two shapes in which images travel between packages: a set of decoded images, and a search's data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from data.pixel_rule import DEFAULT_RULE, PixelRule

UInt8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]


class Pool(Protocol):
    """Decoded images by row: an array, or what decodes the rows that it is asked for, `data.decoders.StreamedPool`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, height, width, channels."""

    def __getitem__(self, rows_N: IntArray, /) -> UInt8Array: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Some rows of a pool of decoded images, and their classes.

    `pool_NHWC` is usually a read-only memory map that all processes share, so rows are picked, never copied up front.
    """

    pool_NHWC: Pool
    rows_M: IntArray
    labels_M: IntArray

    def __len__(self) -> int:
        return len(self.rows_M)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        _, height, width, channels = self.pool_NHWC.shape
        return height, width, channels

    def class_counts(self, classes: int) -> IntArray:
        """Images per class, shape (classes,)."""
        return np.bincount(self.labels_M, minlength=classes).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchData:
    """All that a search may see: training and validation images. There is no way from here to a test image."""

    train: ImageSet
    val: ImageSet
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, of the training images only, in units of 0..1."""
    std: tuple[float, ...]
    fingerprint: str
    """Hash over names, sizes and contents of the training and validation files."""
    split_hash: str
    """Hash over which file went to which split, and the seed."""
    sealed_fingerprint: str
    """The same hash over the test files, by which their opening checks that they were not exchanged."""
    notes: tuple[str, ...]
    """What was taken for what, and what was left out: lines for people."""
    pixel_rule: PixelRule = DEFAULT_RULE
    """How pictures that are not 8-bit and opaque were decoded."""
    names: tuple[str, ...] = ()
    """File name of each row of the pool."""
    near_duplicates: tuple[tuple[int, ...], ...] = ()
    """Rows of the pool that are nearly the same, the largest cluster first."""
    is_compared: bool = True
    """False if no process has looked for near-duplicates yet."""

    @property
    def channels(self) -> int:
        """Channels of the images: 1 for gray, 3 for colour."""
        return self.train.image_shape[2]
