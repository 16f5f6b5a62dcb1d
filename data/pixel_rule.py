"""How pictures that are not 8-bit and opaque become so: recorded with a classifier, which must see all by one rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from data.errors import UserError

ImageFit = Literal["crop", "pad", "squash"]

MAX_PIXELS = 89_478_485
"""Pillow's own limit, a quarter of a GiB of RGB. A larger picture is taken for a decompression bomb."""


@dataclass(frozen=True, kw_only=True)
class PixelRule:
    """What transparent pixels and wide values become, and how large a picture may be."""

    background: str = "white"
    """A colour that Pillow knows, under transparent pixels."""
    value_range: tuple[float, float] | None = None
    """The values of 16-bit, 32-bit and floating-point pictures that become 0 and 255. None: the range of 16 bits, or a
    floating-point picture's own."""
    max_pixels: int = MAX_PIXELS
    """The most pixels that are decoded of one picture."""

    @property
    def key(self) -> str:
        """What distinguishes decoded pictures of sets that the rule matters to, for a folder's name."""
        low_high = "" if self.value_range is None else "-{:g}-{:g}".format(*self.value_range)
        return f"{self.background.lstrip('#')}{low_high}"

    @property
    def limit_key(self) -> str:
        """What distinguishes files made with this limit on pixels, for their names; nothing for the default limit."""
        return "" if self.max_pixels == MAX_PIXELS else f"-max{self.max_pixels}"

    def to_json(self) -> dict[str, Any]:
        """The object that a classifier's description holds."""
        return {"background": self.background, "value_range": self.value_range, "max_pixels": self.max_pixels}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> PixelRule:
        """Read a stored object; None stands for version 0.1, which laid all over black."""
        if stored is None:
            return cls(background="black")
        low_high = stored["value_range"]
        return cls(
            background=stored["background"],
            value_range=None if low_high is None else (float(low_high[0]), float(low_high[1])),
            max_pixels=stored["max_pixels"],
        )


DEFAULT_RULE = PixelRule()


def check_background(color: str) -> None:
    """Raise UserError unless it is a colour that Pillow knows."""
    from PIL import ImageColor

    try:
        ImageColor.getrgb(color)
    except ValueError:
        raise UserError(f"--background {color!r}: not a colour; write white, black or #RRGGBB") from None


def parse_range(text: str) -> tuple[float, float]:
    """The range that `0,4095` stands for. Raises UserError for anything else."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise UserError(f"--value-range {text!r}: write the values that become black and white, e.g. 0,4095")
    return low, high
