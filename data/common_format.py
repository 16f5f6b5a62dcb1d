"""What all searched pictures share: their size, their channels, and whether any needs a pixel rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data.decode import Header
from data.errors import UserError
from data.files import read_json, write_json, writing_below
from data.layout import ImageFile
from data.partition import Partition
from data.pixel_rule import PixelRule
from data.pixels import Pixels
from data.progress import Progress
from data.readers import Readers
from data.spec import DataSpec
from data.text import listed, plural


@dataclass(frozen=True, kw_only=True)
class CommonFormat:
    """What all searched pictures share."""

    square_size: int
    """Height and width in pixels, or 0."""
    gray: bool
    transparent: bool = False
    """Whether a picture can have transparent pixels."""
    wide: bool = False
    """Whether a picture has values wider than 8 bits."""
    value_range: tuple[float, float] | None = None
    """The least and the largest of those values."""

    def key(self, rule: PixelRule) -> str:
        """What the rule adds to the name of decoded pictures; nothing for ordinary ones within the default limit."""
        colors = f"-{rule.key}" if self.transparent or self.wide else ""
        return colors + rule.limit_key


def pixel_rule(spec: DataSpec, common: CommonFormat) -> PixelRule:
    """The rule that the study asks for, or else that its pictures suggest."""
    return PixelRule(
        background=spec.background or "white",
        value_range=spec.value_range or common.value_range,
        max_pixels=spec.max_pixels,
    )


def rule_notes(common: CommonFormat, rule: PixelRule) -> list[str]:
    """What the rule does to these pictures, for people."""
    notes = []
    if common.transparent:
        notes.append(f"transparent pixels become {rule.background}; --background changes that")
    if common.wide and rule.value_range:
        low, high = rule.value_range
        notes.append(
            f"16-bit, 32-bit and float images: {low:g} becomes black, {high:g} white; --value-range changes that"
        )
    return notes


def blank_notes(pixels: Pixels, files: Sequence[ImageFile], transparent: bool) -> list[str]:
    """A warning where readable pictures have one colour only, found by the sums that are kept of each."""
    _, height, width, _ = pixels.pool_NHWC.shape
    sums_NC, squares_NC = pixels.sums_N2C[:, 0], pixels.sums_N2C[:, 1]
    is_blank_N = (sums_NC**2 == squares_NC * (height * width)).all(axis=1)
    blank = [files[int(row)].name for row in np.flatnonzero(is_blank_N)]
    names = [name for name in blank if name not in pixels.unreadable]
    if not names:
        return []
    hint = "; --background changes the colour under transparent pixels" if transparent else ""
    return [f"warning: {len(names)} of {plural(len(files), 'image')} with a single colour ({listed(names, 3)}){hint}"]


def find_common_format(
    partition: Partition, readers: Readers, spec: DataSpec, cache_home: Path, progress: Progress | None
) -> CommonFormat:
    """From the pictures' headers, or from what an earlier start remembered of them.

    Raises UserError if no picture can be read.
    """
    rule = PixelRule(max_pixels=spec.max_pixels)
    path = cache_home / f"{partition.fingerprint[:16]}{rule.limit_key}.format.json"
    known = read_json(path) or {}
    if "wide" in known:
        low_high = known.get("value_range")
        return CommonFormat(**{**known, "value_range": low_high and (low_high[0], low_high[1])})
    # Of all: a file's name does not show whether its picture is transparent or wide.
    headers = set(readers.headers(partition.searched, progress))
    if not headers:
        raise UserError(
            f"{partition.layout.root}: none of the {len(partition.searched)} images can be read; check the files"
        )
    common, value_range = _shared(headers), None
    if common.wide:
        value_range = readers.value_range(partition.searched, rule, progress)
    common = CommonFormat(**{**asdict(common), "value_range": value_range})
    with writing_below(cache_home):
        write_json(path, asdict(common))
    return common


def _shared(headers: set[Header]) -> CommonFormat:
    sides = {side for header in headers for side in header.size}
    return CommonFormat(
        square_size=sides.pop() if len(sides) == 1 else 0,
        gray=all(header.gray for header in headers),
        transparent=any(header.transparent for header in headers),
        wide=any(header.wide for header in headers),
    )
