"""16-bit colour PNG and TIFF files keep their range."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data.decode import Header, decode, decode_whole, read_header, read_range
from data.pixel_rule import PixelRule

TWELVE_BITS = PixelRule(value_range=(0, 4095))
VALUES_HWC = np.random.default_rng(0).integers(0, 4096, (5, 7, 3)).astype(np.uint16)
EXPECTED_HWC = np.rint(VALUES_HWC / 4095 * 255)


def png(values_HWC: np.ndarray, exif: bytes = b"") -> bytes:
    """Encode RGB or RGBA values of 16 bits, which Pillow cannot."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = values_HWC.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values_HWC)
    chunks = [chunk(b"IHDR", header), chunk(b"eXIf", exif) if exif else b"", chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def tiff(values_HWC: np.ndarray, order: str, *, deflate: bool) -> bytes:
    """Encode RGB values of 16 bits in the byte order `<` or `>`."""
    height, width, _ = values_HWC.shape
    content = values_HWC.astype(f"{order}u2").tobytes()
    content = zlib.compress(content) if deflate else content
    short, long, entries = 3, 4, 10
    bits_at = 8 + 2 + 12 * entries + 4
    fields = [
        (256, short, 1, width), (257, short, 1, height), (258, short, 3, bits_at), (259, short, 1, 8 if deflate else 1),
        (262, short, 1, 2), (273, long, 1, bits_at + 6), (277, short, 1, 3), (278, short, 1, height),
        (279, long, 1, len(content)), (284, short, 1, 1),
    ]  # fmt: skip
    directory = b""
    for tag, kind, count, value in fields:
        content_of = (f"{order}HH", value, 0) if kind == short and count == 1 else (f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + struct.pack(*content_of)
    start = b"II*\0" if order == "<" else b"MM\0*"
    bits = struct.pack(f"{order}HHH", 16, 16, 16)
    return start + struct.pack(f"{order}IH", 8, entries) + directory + struct.pack(f"{order}I", 0) + bits + content


FILES = {
    "png": png(VALUES_HWC),
    "tiff, little-endian": tiff(VALUES_HWC, "<", deflate=False),
    "tiff, big-endian": tiff(VALUES_HWC, ">", deflate=False),
    "tiff, little-endian, deflate": tiff(VALUES_HWC, "<", deflate=True),
    "tiff, big-endian, deflate": tiff(VALUES_HWC, ">", deflate=True),
}


@pytest.mark.parametrize("kind", FILES)
def test_sixteen_bit_colour_is_scaled_by_the_range_that_is_asked_for(kind: str) -> None:
    assert read_header(FILES[kind]) == Header((7, 5), False, False, True)
    assert read_range(FILES[kind], PixelRule()) == (VALUES_HWC.min(), VALUES_HWC.max())
    assert (decode_whole(FILES[kind], TWELVE_BITS) == EXPECTED_HWC).all()


def test_without_a_range_sixteen_bits_are_scaled_to_eight() -> None:
    assert (decode_whole(FILES["png"]) == np.rint(VALUES_HWC / 257)).all()


def test_transparent_pixels_of_sixteen_bits_become_the_background() -> None:
    alpha_HW1 = np.zeros((5, 7, 1), np.uint16)
    alpha_HW1[:, 3:] = 65535
    pixels = decode_whole(png(np.concatenate([VALUES_HWC, alpha_HW1], axis=2)), TWELVE_BITS)
    assert (pixels[:, :3] == 255).all() and (pixels[:, 3:] == EXPECTED_HWC[:, 3:]).all()


def test_the_orientation_of_a_sixteen_bit_picture_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = decode_whole(png(VALUES_HWC, exif.tobytes().removeprefix(b"Exif\0\0")), TWELVE_BITS)
    assert (turned == EXPECTED_HWC[::-1, ::-1]).all()


def test_a_truncated_sixteen_bit_picture_is_unreadable_and_eight_bits_are_not_wide() -> None:
    assert read_range(FILES["png"][:-60], PixelRule()) is None
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    assert not read_header(stream.getvalue()).wide and read_range(stream.getvalue(), PixelRule()) is None
    assert decode(FILES["png"], image_size=5, image_fit="crop", channels=1, rule=TWELVE_BITS).shape == (5, 5, 1)
