"""One picture file -> a square array of uint8, whatever mode, orientation or size it has."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data.arrays import UInt8Array
from data.heif import register_heif
from data.pixel_rule import DEFAULT_RULE, ImageFit, PixelRule
from data.plain_jpeg import decode_plain_jpeg, plain_jpeg
from data.wide_colour import alpha_to_8_bits, is_wide_color, read_wide_color

__all__ = ["ImageFit", "PixelFormat", "PixelRule"]

DECODER_VERSION = 1
"""Increase it with every change of the pixels of ordinary pictures: it is part of every cache's key."""

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""Pillow knows more, among them ones that start other programs (EPS)."""
_ORIENTATION = 0x0112
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_WIDE_MODES = (*_SIXTEEN_BIT_MODES, "I", "F")
_GRAY_MODES = ("1", "L", "LA", "La", *_WIDE_MODES)
_SIXTEEN_BITS = (0.0, 65535.0)
_JPEG_SHARE = 4
"""A JPEG may have so many times the pixels of the limit, if it is decoded at a fraction of its size."""


class UnreadableImage(Exception):
    """A picture that cannot be decoded; the message is the reason, for people."""


class Header(NamedTuple):
    """What a file states about its picture before a pixel is decoded."""

    size: tuple[int, int]
    """Width and height in pixels, in either order."""
    gray: bool
    transparent: bool = False
    """Whether it can have transparent pixels."""
    wide: bool = False
    """Whether its values are 16-bit or 32-bit integers, or floating-point numbers."""


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """What every picture is made into."""

    image_size: int
    image_fit: ImageFit
    channels: int
    rule: PixelRule = DEFAULT_RULE

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
        rule=pixel_format.rule,
    )


def decode(
    content: bytes, *, image_size: int, image_fit: ImageFit, channels: int, rule: PixelRule = DEFAULT_RULE
) -> UInt8Array:
    """Decode one picture to shape (image_size, image_size, channels), channels 1 (gray) or 3 (RGB).

    The EXIF orientation is applied, where it can be read; transparency is laid over the rule's background; wider values
    become 8 bits by the rule's range; an animation gives its first frame. Resized with bicubic interpolation that
    averages over all pixels it merges. Raises UnreadableImage with the reason.
    """
    if channels == 3:
        plain = decode_plain_jpeg(content, (image_size, image_size))
        if plain is not None:
            return plain
    # A JPEG is decoded at a fraction of its size, but at least twice what is needed.
    with _reasons(rule), _opened(content, rule, 2 * image_size) as opened:
        image = _narrowed(opened, content, rule)
        if _orientation(image) != 1:
            ImageOps.exif_transpose(image, in_place=True)
        flat = _flatten(image, "L" if channels == 1 else "RGB", rule)
        pixels = np.asarray(_fit(flat, image_size, image_fit))
    return pixels.reshape(image_size, image_size, channels)


def decode_whole(content: bytes, rule: PixelRule = DEFAULT_RULE) -> UInt8Array:
    """Decode one picture as it is: shape (height, width, 3), RGB. Otherwise as `decode`."""
    with _reasons(rule), _opened(content, rule, None) as opened:
        image = _narrowed(opened, content, rule)
        if _orientation(image) != 1:
            ImageOps.exif_transpose(image, in_place=True)
        return np.array(_flatten(image, "RGB", rule))


def read_header(content: bytes) -> Header:
    """Size and kind of a picture, without decoding it. Raises UnreadableImage with the reason."""
    plain = plain_jpeg(content)
    if plain is not None:
        return Header(*plain)
    with _reasons(PixelRule()), _identified(content) as image:
        is_wide = image.mode in _WIDE_MODES or is_wide_color(image)
        return Header(image.size, image.mode in _GRAY_MODES, image.has_transparency_data, is_wide)


def read_range(content: bytes, rule: PixelRule) -> tuple[float, float] | None:
    """The least and the largest finite value of a picture of wider values; None for any other and an unreadable one."""
    try:
        with _reasons(rule), _opened(content, rule, None) as image:
            if is_wide_color(image):
                values = read_wide_color(image, _identified(content))[..., :3]
            elif image.mode in _WIDE_MODES:
                values = np.asarray(image)
            else:
                return None
            finite = values[np.isfinite(values)]
            return (float(finite.min()), float(finite.max())) if finite.size else None
    except UnreadableImage:
        return None


def _identified(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=(*_FORMATS, *register_heif(content)))


def _opened(content: bytes, rule: PixelRule, draft_size: int | None) -> Image.Image:
    image = _identified(content)
    pixels = image.width * image.height
    if draft_size is not None:
        image.draft(None, (draft_size, draft_size))
    drafted = image.width * image.height
    allowed = rule.max_pixels * (_JPEG_SHARE if drafted < pixels else 1)
    if pixels > allowed or drafted > rule.max_pixels:
        raise Image.DecompressionBombError(f"{pixels / 1e6:,.0f} megapixels")
    return image


def _narrowed(image: Image.Image, content: bytes, rule: PixelRule) -> Image.Image:
    """A 16-bit colour picture with 8 bits by the rule's range; any other picture as it is."""
    if not is_wide_color(image):
        return image
    values_HWC = read_wide_color(image, _identified(content))
    parts = [_to_8_bits(values_HWC[..., :3], image.mode, rule), alpha_to_8_bits(values_HWC[..., 3:])]
    narrow = Image.fromarray(np.concatenate(parts, axis=2))
    narrow.info |= {name: image.info[name] for name in ("exif",) if name in image.info}
    return narrow


def _orientation(image: Image.Image) -> int:
    """How the picture is turned; 1, upright, also where its camera data cannot be parsed: the picture is not broken."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # A broken block can raise anything in Pillow's parser.
        return 1


def _flatten(image: Image.Image, mode: str, rule: PixelRule) -> Image.Image:
    """To `RGB` or `L`, 8 bits, opaque."""
    if image.mode == mode:
        return image
    if image.mode in _WIDE_MODES:
        return Image.fromarray(_to_8_bits(np.asarray(image), image.mode, rule)).convert(mode)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, rule.background)
        image.alpha_composite(layer)
    return image.convert(mode)


def _to_8_bits(values: np.ndarray, mode: str, rule: PixelRule) -> UInt8Array:
    """Scale the rule's range to 0..255. Without a range, that of 16 bits, or a floating-point picture's own."""
    own = mode == "F" and rule.value_range is None
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0) if mode == "F" else values
    low, high = (float(finite.min()), float(finite.max())) if own else rule.value_range or _SIXTEEN_BITS
    scaled = (finite.astype(np.float64) - low) * (255 / (high - low if high > low else 1.0))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


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
def _reasons(rule: PixelRule) -> Iterator[None]:
    """Turn whatever Pillow raises into an UnreadableImage with a reason in one line."""
    try:
        yield
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(
            f"{error}, which may be a decompression bomb: above the limit of {rule.max_pixels / 1e6:,.0f}; "
            "if it is a photograph, raise --max-megapixels"
        ) from error
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
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # The rule's own limit is checked in its place.
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
