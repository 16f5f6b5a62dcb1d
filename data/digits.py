"""The 1,797 handwritten digits that come with scikit-learn: a data set without a folder or a download.

Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), its test part.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import distribution

import numpy as np

from data.layout import ImageFile, Layout
from data.text import plural

_PGM_HEADER = b"P5 8 8 255\n"
"""Portable graymap, so that the digits are decoded by the same code as any other picture."""


def digits_layout() -> Layout:
    """The digits as 8x8 gray pictures, in classes 0 to 9."""
    # Its file, and not `load_digits`: scikit-learn takes every process that opens the data a second to import.
    path = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table_NX = np.loadtxt(str(path), delimiter=",", dtype=np.int64)
    pixels_NX, labels_N = (table_NX[:, :64] * (255 / 16)).round().astype(np.uint8), table_NX[:, 64]
    contents = {
        f"{label}/{index:04}.pgm": _PGM_HEADER + pixels.tobytes()
        for index, (label, pixels) in enumerate(zip(labels_N, pixels_NX, strict=True))
    }
    read: Callable[[str], bytes] = contents.__getitem__
    return Layout(
        root=None,
        classes=tuple(str(digit) for digit in range(10)),
        files=tuple(ImageFile(name, int(name[0]), "train", len(contents[name]), 0) for name in sorted(contents)),
        read=read,
        notes=(f"digits {plural(len(contents), 'image')}: used for the search",),
    )
