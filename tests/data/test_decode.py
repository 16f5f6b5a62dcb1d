import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data.decode import UnreadableImage, decode, read_header


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decoded(image: Image.Image, size: int, *, fit: str = "crop", channels: int = 3, **options: object) -> np.ndarray:
    return decode(encoded(image, **options), image_size=size, image_fit=fit, channels=channels)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    pixels = noise(16, 16, 3)
    assert (decoded(Image.fromarray(pixels), 16) == pixels).all()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_exif_orientation_is_applied(orientation: int) -> None:
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16, :16] = (255, 0, 0)
    upright[:16, 16:] = (0, 255, 0)
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(upright).transpose(inverse[orientation])
    pixels = decoded(stored, 32, kind="JPEG", quality=100, subsampling=0, exif=exif)
    assert np.abs(pixels.astype(int) - upright).max() < 30


def test_a_palette_becomes_its_colours() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert (decoded(image, 8) == (10, 200, 30)).all()


def test_a_transparent_palette_entry_becomes_black() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert (decoded(image, 8, transparency=1) == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_become_eight(channels: int) -> None:
    samples = np.array([[0, 256], [32768, 65535]], dtype=np.uint16)
    pixels = decoded(Image.fromarray(samples), 2, channels=channels)
    assert pixels.shape == (2, 2, channels)
    assert pixels[..., 0].tolist() == [[0, 1], [128, 255]]


def test_transparency_is_laid_over_black() -> None:
    assert (decoded(Image.new("RGBA", (8, 8), (200, 100, 50, 0)), 8) == 0).all()
    assert np.abs(decoded(Image.new("RGBA", (8, 8), (200, 100, 50, 128)), 8).astype(int) - (100, 50, 25)).max() <= 1
    assert np.abs(decoded(Image.new("LA", (8, 8), (200, 128)), 8, channels=1).astype(int) - 100).max() <= 1


def test_gray_becomes_three_equal_channels_or_stays_one() -> None:
    gray = noise(8, 8)
    assert (decoded(Image.fromarray(gray), 8) == gray[..., None]).all()
    assert (decoded(Image.fromarray(gray), 8, channels=1) == gray[..., None]).all()


@pytest.mark.parametrize("mode", ["1", "CMYK", "RGB"])
def test_other_modes_become_rgb(mode: str) -> None:
    pixels = decoded(Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode), 8, kind="TIFF")
    assert (pixels == 255).all()


def test_an_animation_gives_its_first_frame() -> None:
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    pixels = decoded(first, 8, kind="GIF", save_all=True, append_images=[second])
    assert (pixels == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_three_fits_of_a_picture_that_is_not_square(kind: str) -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, :40], wide[:, 40:80], wide[:, 80:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    image = Image.fromarray(wide)
    crop, pad, squash = (decoded(image, 12, fit=fit, kind=kind).astype(int) for fit in ("crop", "pad", "squash"))
    assert (crop[:, 2:-2, 1] > 240).all()
    assert (pad[:3] == 0).all() and (pad[-3:] == 0).all() and pad[6].max(axis=-1).min() > 120
    assert (squash[:, 0, 0] > 230).all() and (squash[:, -1, 2] > 230).all()


@pytest.mark.parametrize("keep", [0.3, 0.95])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_file_is_unreadable(kind: str, keep: float) -> None:
    content = encoded(Image.fromarray(noise(64, 64, 3)), kind)
    with pytest.raises(UnreadableImage, match=r"truncated|broken|Truncated"):
        decode(content[: int(len(content) * keep)], image_size=32, image_fit="crop", channels=3)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableImage, match="not a picture"):
        decode(content, image_size=8, image_fit="crop", channels=3)


@pytest.mark.parametrize("side", [10_000, 40_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        decode(bomb, image_size=8, image_fit="crop", channels=3)


def test_a_header_tells_size_and_kind() -> None:
    assert read_header(encoded(Image.new("RGB", (5, 7)))) == ((5, 7), False)
    assert read_header(encoded(Image.new("L", (5, 7)))) == ((5, 7), True)
    assert read_header(encoded(Image.fromarray(np.zeros((4, 4), np.uint16)))) == ((4, 4), True)
