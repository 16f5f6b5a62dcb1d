"""The 1,797 handwritten digits that come with scikit-learn: a data set without a folder or a download.

Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), its test part.
"""

from __future__ import annotations

from collections.abc import Callable

from data.layout import ImageFile, Layout

_PGM_HEADER = b"P5 8 8 255\n"
"""Portable graymap, so that the digits are decoded by the same code as any other picture."""


def digits_layout() -> Layout:
    """The digits as 8x8 gray pictures, in classes 0 to 9."""
    # Imported here: scikit-learn takes a second to import, and most data sets do not need it.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels_NHW = (bunch.images * (255 / 16)).round().astype("uint8")
    contents = {
        f"{label}/{index:04}.pgm": _PGM_HEADER + pixels.tobytes()
        for index, (label, pixels) in enumerate(zip(bunch.target, pixels_NHW, strict=True))
    }
    read: Callable[[str], bytes] = contents.__getitem__
    return Layout(
        root=None,
        classes=tuple(str(digit) for digit in range(10)),
        files=tuple(ImageFile(name, int(name[0]), "train", len(contents[name]), 0) for name in sorted(contents)),
        read=read,
        notes=(f"digits {len(contents)} images: searched",),
    )
