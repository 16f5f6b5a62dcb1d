"""One picture file -> a square array of uint8, whatever mode, orientation or size it has."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data.arrays import UInt8Array
from data.plain_jpeg import decode_plain_jpeg, plain_jpeg

ImageFit = Literal["crop", "pad", "squash"]

DECODER_VERSION = 1
"""Raised by whoever changes what pixels come out: part of every cache's key."""
MAX_PIXELS = 89_478_485
"""Pillow's own limit, a quarter of a GiB of RGB. A larger picture is taken for a decompression bomb."""

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""Pillow knows more, among them ones that start other programs (EPS)."""
_ORIENTATION = 0x0112
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GRAY_MODES = ("1", "L", "LA", "La", *_SIXTEEN_BIT_MODES)


class UnreadableImage(Exception):
    """A picture that cannot be decoded; the message is the reason, for people."""


class Header(NamedTuple):
    """What a file says of its picture before a pixel is decoded."""

    size: tuple[int, int]
    """Width and height in pixels, in either order."""
    gray: bool


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """What every picture is made into."""

    image_size: int
    image_fit: ImageFit
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.image_size, self.image_size, self.channels


def decode_file(read: Callable[[str], bytes], name: str, pixel_format: PixelFormat) -> UInt8Array:
    """Read and decode the picture of that name. Raises UnreadableImage with the reason."""
    try:
        content = read(name)
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror}") from error
    return decode(
        content,
        image_size=pixel_format.image_size,
        image_fit=pixel_format.image_fit,
        channels=pixel_format.channels,
    )


def decode(content: bytes, *, image_size: int, image_fit: ImageFit, channels: int) -> UInt8Array:
    """Decode one picture to shape (image_size, image_size, channels), channels 1 (gray) or 3 (RGB).

    The EXIF orientation is applied; transparency is laid over black, as `pad` is black; 16 bits become 8; an animation
    gives its first frame. Resized with bicubic interpolation that averages over all pixels it merges. Raises
    UnreadableImage with the reason.
    """
    if channels == 3:
        plain = decode_plain_jpeg(content, (image_size, image_size))
        if plain is not None:
            return plain
    with _reasons(), _opened(content) as image:
        # A JPEG is decoded at a fraction of its size, but at least twice what is needed.
        image.draft(None, (2 * image_size, 2 * image_size))
        if image.getexif().get(_ORIENTATION, 1) != 1:
            ImageOps.exif_transpose(image, in_place=True)
        flat = _flatten(image, "L" if channels == 1 else "RGB")
        pixels = np.asarray(_fit(flat, image_size, image_fit))
    return pixels.reshape(image_size, image_size, channels)


def decode_whole(content: bytes) -> UInt8Array:
    """Decode one picture as it is: shape (height, width, 3), RGB. Otherwise as `decode`."""
    with _reasons(), _opened(content) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return np.array(_flatten(image, "RGB"))


def read_header(content: bytes) -> Header:
    """Size and kind of a picture, without decoding it. Raises UnreadableImage with the reason."""
    plain = plain_jpeg(content)
    if plain is not None and plain.size[0] * plain.size[1] <= MAX_PIXELS:
        return Header(*plain)
    with _reasons(), _opened(content) as image:
        return Header(image.size, image.mode in _GRAY_MODES)


def _opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
    return image


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """To `RGB` or `L`, 8 bits, opaque."""
    if image.mode == mode:
        return image
    if image.mode in _SIXTEEN_BIT_MODES:
        samples = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        return Image.fromarray((samples >> 8).astype(np.uint8)).convert(mode)
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels, of a range that the file does not tell")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        image.alpha_composite(layer)
    return image.convert(mode)


def _fit(image: Image.Image, size: int, image_fit: ImageFit) -> Image.Image:
    if image.size == (size, size):
        return image
    width, height = image.size
    if image_fit == "pad":
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas = Image.new(image.mode, (size, size))
        canvas.paste(_resize(image, inner, None), ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return canvas
    if image_fit == "squash":
        return _resize(image, (size, size), None)
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return _resize(image, (size, size), (left, top, left + side, top + side))


def _resize(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None) -> Image.Image:
    # The gap lets Pillow merge whole blocks first; at 3 the result is that of one resize, as its documentation says.
    return image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever Pillow raises into an UnreadableImage with a reason in one line."""
    try:
        yield
    except UnreadableImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"taken for a decompression bomb, above {MAX_PIXELS // 10**6} megapixels") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage("not a picture in a format that is read here") from error
    except Exception as error:  # A broken file can raise anything in any of Pillow's parsers.
        raise UnreadableImage(" ".join(f"{type(error).__name__}: {error}".split())) from error


@contextmanager
def pillow_warnings() -> Iterator[None]:
    """Refuse what Pillow only warns of where it matters, and be silent where it does not.

    Around the threads, not inside them: warning filters belong to the whole process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
