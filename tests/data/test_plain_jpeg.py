"""The short cut for plain JPEGs: whatever happens to a file, the pixels or the reason are Pillow's."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from data import plain_jpeg
from data.decode import UnreadableImage, decode, pillow_warnings

SIDE = 24


def encoded(mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE), **options: object) -> bytes:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


PLAIN = {
    "baseline": encoded(),
    "progressive": encoded(progressive=True),
    "full chroma": encoded(subsampling=0),
    "half chroma": encoded(subsampling=1),
    "own codes": encoded(optimize=True, quality=97),
    "restarts": encoded(restart_marker_blocks=1),
    "coarse": encoded(quality=3),
}
OTHER = {
    "turned": encoded(exif=exif()),
    "comment": encoded(comment=b"hello"),
    "profile": encoded(icc_profile=b"x" * 200),
    "CMYK": encoded("CMYK"),
    "gray": encoded("L"),
    "not square": encoded(size=(SIDE, SIDE + 1)),
    "another size": encoded(size=(2 * SIDE, 2 * SIDE)),
}


def outcome(content: bytes) -> bytes | str:
    try:
        return decode(content, image_size=SIDE, image_fit="crop", channels=3).tobytes()
    except UnreadableImage as error:
        return str(error)


def outcome_of_pillow(content: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes | str:
    with monkeypatch.context() as patched:
        patched.setattr(plain_jpeg, "decode_jpeg", None)
        return outcome(content)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut off, or with some bytes changed, more often than not in the header."""
    values = bytearray(content)
    if rng.random() < 0.3:
        return bytes(values[: rng.randrange(len(values))])
    for _ in range(rng.choice((1, 1, 2, 5))):
        values[rng.randrange(min(len(values), rng.choice((10_000, 640))))] = rng.randrange(256)
    return bytes(values)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_jpeg_takes_the_short_cut_and_has_pillows_pixels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    content = PLAIN[name]
    pixels = plain_jpeg.decode_plain_jpeg(content, (SIDE, SIDE))
    assert pixels is not None
    assert pixels.tobytes() == outcome(content) == outcome_of_pillow(content, monkeypatch)


@pytest.mark.parametrize("name", OTHER)
def test_any_other_jpeg_is_pillows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain_jpeg.decode_plain_jpeg(OTHER[name], (SIDE, SIDE)) is None
    assert outcome(OTHER[name]) == outcome_of_pillow(OTHER[name], monkeypatch)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_have_pillows_pixels_reasons_and_headers(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    taken = refused = 0
    with pillow_warnings():
        for content in [damaged(content, rng) for content in (*PLAIN.values(), *OTHER.values()) for _ in range(40)]:
            assert outcome(content) == outcome_of_pillow(content, monkeypatch)
            taken += plain_jpeg.decode_plain_jpeg(content, (SIDE, SIDE)) is not None
            refused += isinstance(outcome(content), str)
            if (plain := plain_jpeg.plain_jpeg(content)) is not None:
                with Image.open(io.BytesIO(content)) as image:
                    assert (image.size, image.mode) == (plain.size, "L" if plain.gray else "RGB")
    assert refused > 50, "damage that hurts no file shows nothing"
    assert taken > 50 or plain_jpeg.decode_jpeg is None  # type: ignore[attr-defined]


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    content = bytearray(PLAIN["baseline"])
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        decode(bytes(content), image_size=32, image_fit="crop", channels=3)
