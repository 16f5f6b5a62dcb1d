"""The sealed test images, for the final evaluation and nothing else: no other module can reach one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.arrays import ImageSet
from data.bulk import DecodedChunk, decode_chunks
from data.decode import ImageFit, PixelFormat, PixelRule, pillow_warnings
from data.errors import UserError
from data.layout import ImageFile
from data.parallel import map_files
from data.partition import Partition, open_partition
from data.pixel_rule import DEFAULT_RULE
from data.progress import Progress
from data.spec import DataSpec
from data.text import listed, plural

_NAMED = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class SealedTest:
    """The test images, decoded as the search decoded its own."""

    images: ImageSet
    names: tuple[str, ...]
    """File name of each image."""
    classes: tuple[str, ...]
    fingerprint: str
    """Hash over names, sizes and contents of the test files."""
    note: str
    """What was taken as the test set, and what was left out: one line for people."""


def open_test_images(
    spec: DataSpec,
    *,
    classes: tuple[str, ...],
    channels: int,
    image_size: int,
    image_fit: ImageFit,
    data_home: Path,
    cache_home: Path,
    pixel_rule: PixelRule = DEFAULT_RULE,
    pinned: str | None = None,
    progress: Progress | None = None,
) -> SealedTest:
    """Decode the test images into memory; only file hashes are kept below `cache_home`, never a test picture.

    `pinned` is the sealed fingerprint at the study's start: what has been lost of that set since is left out, and the
    note says so. Raises UserError where the classes are not those of the search.
    """
    partition = open_partition(spec, data_home, cache_home.expanduser().absolute(), progress, pinned)
    files = partition.sealed
    if partition.layout.classes != classes:
        raise UserError(
            f"{spec.source}: has the classes {', '.join(partition.layout.classes)}, but the study has "
            f"{', '.join(classes)}; give the study's own images"
        )
    pixel_format = PixelFormat(image_size=image_size, image_fit=image_fit, channels=channels, rule=pixel_rule)
    pool_NHWC = np.empty((len(files), *pixel_format.shape), dtype=np.uint8)
    unreadable: dict[str, str] = {}
    start = 0
    # In threads, not by the processes of `data.readers`: no other process and no file sees one of these pictures.
    for chunk in _decode(partition, pixel_format, progress):
        pool_NHWC[start : start + len(chunk.images_NHWC)] = chunk.images_NHWC
        start += len(chunk.images_NHWC)
        unreadable |= chunk.unreadable
    if len(unreadable) == len(files):
        raise UserError(f"{spec.source}: none of the {len(files)} test images can be read; check the files")
    rows_M = np.array([row for row, file in enumerate(files) if file.name not in unreadable], dtype=np.int64)
    unread = {**partition.left_out, **unreadable}
    left_out = "".join(f"; {name} left out, unreadable ({reason})" for name, reason in unread.items())
    if partition.lost:
        left_out += f"; {len(partition.lost)} lost since they were sealed: {listed(partition.lost, _NAMED)}"
    return SealedTest(
        images=ImageSet(
            pool_NHWC=pool_NHWC, rows_M=rows_M, labels_M=np.array([files[row].label for row in rows_M], dtype=np.int64)
        ),
        names=tuple(files[row].name for row in rows_M),
        classes=classes,
        fingerprint=partition.sealed_fingerprint,
        note=f"{plural(len(rows_M), 'test image')}{left_out}",
    )


def _decode(partition: Partition, pixel_format: PixelFormat, progress: Progress | None) -> Iterator[DecodedChunk]:
    """The test pictures in order."""

    def decode(files: Sequence[ImageFile]) -> list[DecodedChunk]:
        return list(decode_chunks(partition.layout.read, [file.name for file in files], pixel_format))

    with pillow_warnings():
        for chunks in map_files(decode, partition.sealed, label="decoding images", progress=progress):
            yield from chunks
