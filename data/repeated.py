"""Near-duplicates of a search's data: within what is searched, and between that and the sealed test images.

Found once for a set, and remembered; the sealed images are compared by `data.sealing`, which gives names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from data.arrays import IntArray, Pool, UInt8Array
from data.decode import PixelFormat
from data.decoders import StreamedPool
from data.files import kept_json, read_json
from data.layout import ImageFile
from data.near_duplicates import SIZE, Signatures, clusters, joined, near_pairs, signatures
from data.partition import Partition
from data.progress import Progress
from data.sealing import sealed_lookalikes
from data.text import plural, shown_name

_SMALLEST = 24
"""Pixels per side: of smaller pictures, such as 8x8 digits, different ones are nearly the same."""
_MOST_IMAGES = 120_000
"""Searched and sealed together, up to which near-duplicates are looked for unasked: the pairs are quadratic."""
_CHUNK = 256
_NAMED = 3

Comparing = Literal["known", "usual", "all"]
"""Which images are compared: none, only an earlier result is read; those of sets that are not very large; those of any
set."""


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """What was found; rows are those of the searched files."""

    clusters: tuple[tuple[int, ...], ...] = ()
    """Rows of pictures that are nearly the same, the largest cluster first."""
    sealed: tuple[tuple[int, str], ...] = ()
    """A searched row, and the name of a test image that is nearly the same."""
    skipped: str = ""
    """Why near-duplicates were not searched for; empty where they were."""
    is_pending: bool = False
    """True where no process has looked for them yet."""

    def dropped(self, val_rows: IntArray) -> set[int]:
        """Rows that training leaves out: nearly the same as a validation image or as a test image."""
        val = set(val_rows.tolist())
        torn = {row for cluster in self.clusters if val.intersection(cluster) for row in cluster}
        return (torn | {row for row, _ in self.sealed}) - val

    def notes(self, files: Sequence[ImageFile], train_rows: IntArray, val_rows: IntArray, sealed: int) -> list[str]:
        """What was found and what to do about it, for people."""
        if self.skipped:
            return [f"near-duplicates were not searched for: {self.skipped}"]
        train, val = set(train_rows.tolist()), set(val_rows.tolist())
        across = [
            (next(row for row in cluster if row in train), row)
            for cluster in self.clusters
            if train.intersection(cluster)
            for row in cluster
            if row in val
        ]
        tested = {name: row for row, name in self.sealed if row in train}
        alike = sum(map(len, self.clusters))
        if not alike and not self.sealed:
            return []
        lines = [f"{alike:,} of {plural(len(files), 'training or validation image')} are near-duplicates of each other"]
        for pairs, images, kind in (
            ([(files[one].name, files[other].name) for one, other in across], len(val), "validation"),
            ([(files[row].name, name) for name, row in tested.items()], sealed, "test"),
        ):
            if pairs:
                named = ", ".join(f"{shown_name(one)} ~ {shown_name(other)}" for one, other in pairs[:_NAMED])
                lines.append(
                    f"warning: {len(pairs):,} of {plural(images, f'{kind} image')} ({len(pairs) / images:.1%}) nearly "
                    f"the same as a training image, so the {kind} accuracy is too optimistic: {named}; "
                    "`--near-duplicates drop` leaves out such training images, `--group` keeps bursts together"
                )
        return lines


def find_near_duplicates(
    pool_NHWC: Pool,
    partition: Partition,
    pixel_format: PixelFormat,
    cache_home: Path,
    progress: Progress | None = None,
    *,
    compare: Comparing,
    rule_key: str = "",
) -> NearDuplicates:
    """Look for near-duplicates, or read what an earlier start found. `rule_key`: as in `data.pixels.open_pixels`."""
    images = len(partition.searched) + len(partition.sealed)
    if pixel_format.image_size < _SMALLEST:
        return NearDuplicates()
    if compare != "all" and (images > _MOST_IMAGES or isinstance(pool_NHWC, StreamedPool)):
        return NearDuplicates(skipped=f"{images:,} images; `sieve check-data` searches for them")
    key = f"{partition.fingerprint[:16]}-{partition.sealed_fingerprint[:16]}-{pixel_format.image_fit}{rule_key}"
    path = cache_home / f"{key}.near.json"
    known = read_json(path)
    if known is None:
        if compare == "known":
            return NearDuplicates(is_pending=True)
        known = kept_json(path, lambda: _search(pool_NHWC, partition, pixel_format, progress), cache_home)
    return NearDuplicates(
        clusters=tuple(map(tuple, known["clusters"])),
        sealed=tuple((int(row), str(name)) for row, name in known["sealed"]),
    )


def _search(
    pool_NHWC: Pool, partition: Partition, pixel_format: PixelFormat, progress: Progress | None
) -> dict[str, object]:
    rows = np.arange(len(partition.searched))
    parts: list[Signatures] = []
    for start in range(0, len(rows), _CHUNK):
        parts.append(signatures(small(pool_NHWC[rows[start : start + _CHUNK]])))
        if progress:
            progress("comparing images", min(start + _CHUNK, len(rows)), len(rows))
    searched = joined(parts)
    found = sealed_lookalikes(partition.layout, partition.sealed, searched, pixel_format, progress)
    return {"clusters": clusters(near_pairs(searched)), "sealed": found}


def small(images_NHWC: UInt8Array) -> UInt8Array:
    """Pictures of any square size at 32x32 pixels."""
    count, size, _, channels = images_NHWC.shape
    if size == SIZE:
        return images_NHWC
    if size % SIZE == 0:
        step = size // SIZE
        blocks = images_NHWC.reshape(count, SIZE, step, SIZE, step, channels)
        return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32).round(), dtype=np.uint8)
    squeezed = images_NHWC[..., 0] if channels == 1 else images_NHWC
    resized = [np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BOX)) for image in squeezed]
    return np.stack(resized).reshape(count, SIZE, SIZE, channels)
