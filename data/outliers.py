"""Pictures that stand out among those of a set: by their size, brightness and sharpness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.arrays import Pool
from data.decode import UnreadableImage, read_header
from data.progress import Progress

_LIMIT = 6.0
"""Robust standard deviations from the median, from which a picture stands out: of a normal distribution, none."""
_MAD = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation."""
_CHUNK = 128
_DARKEST = 1.0
"""Added before a logarithm is taken, so that 0 has one."""

FloatArray = npt.NDArray[np.float64]


class Outlier(NamedTuple):
    """A picture that stands out."""

    name: str
    kind: str
    """`small`, `large`, `dark`, `bright`, `blurred` or `sharp`."""
    value: float
    """Megapixels, brightness (0 to 255), or the standard deviation of the Laplacian in gray levels."""
    deviations: float
    """Robust standard deviations from the median, without a sign."""


def find_outliers(
    pool_NHWC: Pool,
    rows_M: npt.NDArray[np.int64],
    names: Sequence[str],
    read: Callable[[str], bytes],
    progress: Progress | None = None,
) -> list[Outlier]:
    """The pictures of these rows that stand out, the farthest first; `names` are those of all rows of the pool."""
    brightness_M, sharpness_M, pixels_M = (np.empty(len(rows_M)) for _ in range(3))
    for start in range(0, len(rows_M), _CHUNK):
        rows = rows_M[start : start + _CHUNK]
        place = slice(start, start + len(rows))
        gray_NHW = pool_NHWC[rows].mean(axis=3, dtype=np.float32)
        brightness_M[place] = gray_NHW.mean(axis=(1, 2))
        sharpness_M[place] = _laplacian(gray_NHW).std(axis=(1, 2))
        pixels_M[place] = [_pixels(read, names[row]) for row in rows.tolist()]
        if progress:
            progress("measuring images", place.stop, len(rows_M))
    found = [
        *_standing_out(pixels_M / 1e6, np.log(pixels_M + _DARKEST), ("small", "large")),
        *_standing_out(brightness_M, brightness_M, ("dark", "bright")),
        *_standing_out(sharpness_M, np.log(sharpness_M + _DARKEST), ("blurred", "sharp")),
    ]
    outliers = [Outlier(names[rows_M[index]], kind, value, far) for index, kind, value, far in found]
    return sorted(outliers, key=lambda outlier: -outlier.deviations)


def _standing_out(
    values_M: FloatArray, scaled_M: FloatArray, kinds: tuple[str, str]
) -> list[tuple[int, str, float, float]]:
    """Index, kind, value and deviations of those that are far from the median, below and above."""
    center = np.nanmedian(scaled_M) if len(scaled_M) else 0.0
    spread = _MAD * np.nanmedian(np.abs(scaled_M - center)) if len(scaled_M) else 0.0
    if spread < 1e-3:  # All the same, such as the size of CIFAR-10: then any other value stands out.
        spread = 1e-3
    deviations_M = np.nan_to_num((scaled_M - center) / spread)
    return [
        (index, kinds[int(deviations_M[index] > 0)], float(values_M[index]), float(abs(deviations_M[index])))
        for index in np.flatnonzero(np.abs(deviations_M) > _LIMIT).tolist()
    ]


def _laplacian(gray_NHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Four neighbours less four times the pixel, without the border. Source: Pech-Pacheco et al. 2000."""
    middle = gray_NHW[:, 1:-1, 1:-1]
    neighbours = gray_NHW[:, :-2, 1:-1] + gray_NHW[:, 2:, 1:-1] + gray_NHW[:, 1:-1, :-2] + gray_NHW[:, 1:-1, 2:]
    return np.asarray(neighbours - 4 * middle, dtype=np.float32)


def _pixels(read: Callable[[str], bytes], name: str) -> float:
    """Width times height as stored; not a number where the file cannot be read."""
    try:
        width, height = read_header(read(name)).size
    except (OSError, UnreadableImage):
        return float("nan")
    return float(width * height)
