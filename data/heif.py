"""HEIC and AVIF pictures, read by the optional library pillow-heif and by Pillow itself."""

from __future__ import annotations

from functools import cache

_BRAND = slice(4, 8)


def register_heif(content: bytes) -> tuple[str, ...]:
    """The names of Pillow's formats for a file that begins as HEIC and AVIF do; none for any other file."""
    return _formats() if content[_BRAND] == b"ftyp" else ()


@cache
def _formats() -> tuple[str, ...]:
    from PIL import features

    avif = ("AVIF",) if features.check("avif") else ()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return avif
    register_heif_opener()
    return ("HEIF", *avif)
