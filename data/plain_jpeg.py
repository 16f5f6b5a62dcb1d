"""A short cut for JPEGs of the plainest sort: what Pillow would give, bit for bit, in a quarter of its time.

For a picture of 32 px, Pillow spends most of its time on Python objects, not on pixels: 79 us, of which 15 are enough.
Whatever is unusual in a file (EXIF, Adobe's colours, CMYK, 12 bits, damage of any kind) is left to Pillow, so that
results and errors are always its own.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from data.arrays import UInt8Array

try:
    from simplejpeg import decode_jpeg
except ImportError:  # It has wheels for the common platforms only, and Pillow gives the same pixels.
    decode_jpeg = None

_START = b"\xff\xd8\xff\xe0"
_JFIF = b"JFIF\0"
_SEGMENT = Struct(">HH")
"""Marker, and length including the length's own two bytes."""
_FRAME = Struct(">BHHB")
"""Bits per sample, height, width, components."""
_FRAMES = frozenset({0xFFC0, 0xFFC1, 0xFFC2})
"""Baseline, extended and progressive, all with Huffman codes."""
_TABLES = frozenset({0xFFC4, 0xFFDD})
"""Huffman codes, and restart intervals."""
_QUANTISATION, _SCAN = 0xFFDB, 0xFFDA
_QUANTISATION_BYTES = 65
"""Of an 8-bit table with its number."""


class PlainJpeg(NamedTuple):
    """What the header of a plain JPEG states."""

    size: tuple[int, int]
    """Width and height in pixels."""
    gray: bool


def plain_jpeg(content: bytes) -> PlainJpeg | None:
    """The header of an 8-bit JFIF file with 1 or 3 components and without other metadata; None for any other file."""
    if content[:4] != _START or content[6:11] != _JFIF:
        return None
    header, position, end = None, 2, len(content) - 12
    while position < end:
        marker, length = _SEGMENT.unpack_from(content, position)
        if marker in _FRAMES and header is None:
            bits, height, width, components = _FRAME.unpack_from(content, position + 4)
            if bits != 8 or components not in (1, 3) or length != 8 + 3 * components or not (width and height):
                return None
            header = PlainJpeg((width, height), components == 1)
        elif marker == _SCAN:
            return header if position + 2 + length <= len(content) else None
        elif marker == _QUANTISATION:
            if not _has_8_bit_tables(content, position + 4, length - 2):
                return None
        elif marker not in _TABLES and position != 2:
            return None
        position += 2 + length
    return None


def decode_plain_jpeg(content: bytes, size: tuple[int, int]) -> UInt8Array | None:
    """The RGB pixels, shape (height, width, 3), of a plain colour JPEG of exactly this width and height.

    None for any other file, for one that is damaged in any way, and where `simplejpeg` is not installed.
    """
    if decode_jpeg is None or plain_jpeg(content) != (size, False):
        return None
    try:
        pixels: UInt8Array = decode_jpeg(content)
    except ValueError:  # Also for what libjpeg only warns of.
        return None
    return pixels


def _has_8_bit_tables(content: bytes, start: int, length: int) -> bool:
    """Whether the segment holds whole tables of 8-bit values alone."""
    tables = range(start, start + length, _QUANTISATION_BYTES)
    return length % _QUANTISATION_BYTES == 0 and all(content[at] < 4 for at in tables if at < len(content))
