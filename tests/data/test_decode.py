import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data.decode import Header, PixelRule, UnreadableImage, decode, decode_whole, read_header, read_range


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


def test_a_transparent_palette_entry_becomes_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert (decoded(image, 8, transparency=1) == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_become_eight(channels: int) -> None:
    samples = np.array([[0, 256], [32768, 65535]], dtype=np.uint16)
    pixels = decoded(Image.fromarray(samples), 2, channels=channels)
    assert pixels.shape == (2, 2, channels)
    assert pixels[..., 0].tolist() == [[0, 1], [128, 255]]


def test_transparency_is_laid_over_white() -> None:
    assert (decoded(Image.new("RGBA", (8, 8), (200, 100, 50, 0)), 8) == 255).all()
    assert np.abs(decoded(Image.new("RGBA", (8, 8), (200, 100, 50, 128)), 8).astype(int) - (227, 177, 152)).max() <= 1
    assert np.abs(decoded(Image.new("LA", (8, 8), (200, 128)), 8, channels=1).astype(int) - 227).max() <= 1


def test_transparency_is_laid_over_the_colour_that_is_asked_for() -> None:
    content = encoded(Image.new("RGBA", (8, 8), (200, 100, 50, 0)))
    rule = PixelRule(background="#102030")
    assert (decode(content, image_size=8, image_fit="crop", channels=3, rule=rule) == (16, 32, 48)).all()


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_wide_values_are_scaled_by_the_range_that_is_asked_for(mode: str) -> None:
    samples = np.array([[100, 300], [500, 9000]])
    kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    content = encoded(Image.fromarray(samples.astype(kinds[mode])), "TIFF")
    assert read_header(content) == Header((2, 2), True, False, True)
    assert read_range(content, PixelRule()) == (100, 9000)
    rule = PixelRule(value_range=(100, 500))
    pixels = decode(content, image_size=2, image_fit="crop", channels=1, rule=rule)
    assert pixels[..., 0].tolist() == [[0, 127], [255, 255]]


def test_a_floating_point_picture_without_a_range_keeps_its_own(recwarn) -> None:
    values = np.array([[0.25, np.nan], [0.75, np.inf]], dtype=np.float32)
    pixels = decoded(Image.fromarray(values), 2, kind="TIFF", channels=1)
    assert pixels[..., 0].tolist() == [[85, 0], [255, 0]]
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_camera_data_that_cannot_be_parsed_does_no_harm(kind: str) -> None:
    content = encoded(Image.fromarray(noise(16, 16, 3)), kind, exif=b"\x00\x08\x00\x02\x01\x12\x00\x03")
    assert decode(content, image_size=16, image_fit="crop", channels=3).any()
    assert decode_whole(content).shape == (16, 16, 3)


def test_a_large_photograph_is_read_at_a_fraction_of_its_size_and_others_by_the_limit() -> None:
    photograph = Image.new("RGB", (3000, 2000), (200, 40, 40))
    strict = PixelRule(max_pixels=2_000_000)
    small = decode(encoded(photograph, "JPEG"), image_size=64, image_fit="crop", channels=3, rule=strict)
    assert np.abs(small.astype(int) - (200, 40, 40)).max() < 4
    with pytest.raises(UnreadableImage, match=r"6 megapixels, .* above the limit of 2; .* raise --max-megapixels"):
        decode(encoded(photograph), image_size=64, image_fit="crop", channels=3, rule=strict)
    smallest = PixelRule(max_pixels=1_000_000)
    with pytest.raises(UnreadableImage, match="above the limit of 1"):
        decode(encoded(photograph, "JPEG"), image_size=64, image_fit="crop", channels=3, rule=smallest)
    loose = PixelRule(max_pixels=6_000_000)
    assert decode(encoded(photograph), image_size=64, image_fit="crop", channels=3, rule=loose).any()


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_heic_and_avif_are_read_where_their_decoder_is_there(kind: str) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    content = encoded(Image.new("RGB", (64, 64), (200, 40, 40)), kind)
    assert np.abs(decode(content, image_size=8, image_fit="crop", channels=3).astype(int) - (200, 40, 40)).max() < 12


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


def test_a_header_holds_size_and_kind() -> None:
    assert read_header(encoded(Image.new("RGB", (5, 7)))) == Header((5, 7), False)
    assert read_header(encoded(Image.new("L", (5, 7)))) == Header((5, 7), True)
    assert read_header(encoded(Image.fromarray(np.zeros((4, 4), np.uint16)))) == Header((4, 4), True, wide=True)
