"""Opens the data of a search: finds it, divides it, decodes it once, and hands out training and validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.arrays import ImageSet, IntArray, SearchData
from data.catalog import DATASETS
from data.common_format import blank_notes, find_common_format, pixel_rule, rule_notes
from data.decode import ImageFit, PixelFormat
from data.files import CacheLimit
from data.garbage import no_collection
from data.layout import ImageFile, Layout
from data.partition import check_class_sizes, read_partition
from data.pixels import Pixels, open_pixels
from data.progress import Progress
from data.readers import Readers
from data.repeated import Comparing, find_near_duplicates
from data.source import find_layout
from data.spec import DataSpec
from data.splits import check_class_counts, hash_without, split_files
from data.text import plural, shown_name

DEFAULT_IMAGE_SIZE = 224
"""Pixels, where none is asked for and the pictures have no common square size."""
_SMALLEST_STD = 1 / 255
"""One gray level: a channel that never changes must not be divided by 0."""


@dataclass(frozen=True, kw_only=True)
class DataDescription:
    """What is known of a data set without reading a picture or writing a file."""

    classes: tuple[str, ...]
    """Empty where the set is still to be downloaded."""
    images: dict[str, int]
    """Files per part that the source brings: `train`, `val`, `test`."""
    layout: Layout | None
    """The listing, for `open_search_data` to start from; None where the set is still to be downloaded."""
    download_url: str | None
    """Where the set will be fetched from, if it is not here yet."""
    notes: tuple[str, ...]


def describe(spec: DataSpec, data_home: Path) -> DataDescription:
    """Describe the data without writing or downloading anything. Raises UserError for data that cannot be searched."""
    known = DATASETS.get(spec.source)
    if known and known.archive and not (data_home.expanduser() / spec.source).is_dir():
        url = known.archive.url
        notes = (f"{known.title}: fetched from {url}",)
        return DataDescription(classes=(), images={}, layout=None, download_url=url, notes=notes)
    layout = find_layout(spec.source, data_home, columns=spec.columns)
    check_class_sizes(layout, spec)
    return DataDescription(
        classes=layout.classes,
        images={part: layout.count(part) for part in ("train", "val", "test")},
        layout=layout,
        download_url=None,
        notes=layout.notes,
    )


def open_search_data(
    spec: DataSpec,
    *,
    image_size: int | None,
    image_fit: ImageFit,
    data_home: Path,
    cache_home: Path,
    progress: Progress | None = None,
    limit: CacheLimit | None = None,
    layout: Layout | None = None,
    compare: Comparing = "known",
) -> SearchData:
    """Training and validation images of `spec`, decoded once below `cache_home` and mapped read-only.

    Where they would take more than the limit they are decoded whenever they are asked for; a note states which.
    `image_size` is the height and width in pixels; None takes the pictures' own where all share one square size, and
    otherwise 224. `layout` is a listing of the source that `describe` has made just before; else one is made here.
    `compare` states for which sets near-duplicates are looked for, where `spec` does not drop them. Any number of
    processes may call this at once.

    Raises UserError for data that cannot be searched, before it writes anything if the folder's listing shows that.
    """
    cache_home = cache_home.expanduser().absolute()
    layout = layout or find_layout(spec.source, data_home, progress, columns=spec.columns)
    with no_collection(), Readers(layout) as readers:
        partition = read_partition(spec, readers, cache_home, progress)
        searched = partition.searched
        common = find_common_format(partition, readers, spec, cache_home, progress)
        rule = pixel_rule(spec, common)
        pixel_format = PixelFormat(
            image_size=image_size or common.square_size or DEFAULT_IMAGE_SIZE,
            image_fit=image_fit,
            channels=1 if common.gray else 3,
            rule=rule,
        )
        rule_key = common.key(rule)
        pixels = open_pixels(
            readers, searched, partition.fingerprint, pixel_format, cache_home, progress, limit, rule_key
        )
    if spec.near_duplicates == "drop":
        compare = "all"
    near = find_near_duplicates(
        pixels.pool_NHWC, partition, pixel_format, cache_home, progress, compare=compare, rule_key=rule_key
    )
    readable_rows = np.array([row for row, file in enumerate(searched) if file.name not in pixels.unreadable])
    readable = [searched[row] for row in readable_rows]
    split = split_files(readable, partition.layout.classes, spec, partition.groups)
    train_rows, val_rows = readable_rows[split.train_M], readable_rows[split.val_M]
    near_notes = near.notes(searched, train_rows, val_rows, len(partition.sealed))
    split_hash = split.split_hash
    if spec.near_duplicates == "drop" and (dropped := near.dropped(val_rows)):
        near_notes = [
            f"{plural(len(dropped), 'training image')} left out, nearly the same as a validation or test image"
        ]
        train_rows = np.array([row for row in train_rows if row not in dropped], dtype=np.int64)
        split_hash = hash_without(split_hash, [searched[row] for row in sorted(dropped)])
        check_class_counts(searched, train_rows, partition.layout.classes)
    train = _image_set(pixels, searched, train_rows)
    mean, std = _statistics(pixels, train.rows_M)
    return SearchData(
        train=train,
        val=_image_set(pixels, searched, val_rows),
        classes=partition.layout.classes,
        mean=mean,
        std=std,
        fingerprint=partition.fingerprint,
        sealed_fingerprint=partition.sealed_fingerprint,
        split_hash=split_hash,
        names=tuple(file.name for file in searched),
        near_duplicates=near.clusters,
        is_compared=not near.is_pending,
        pixel_rule=rule,
        notes=(
            *partition.notes,
            pixels.note,
            *rule_notes(common, rule),
            *_unreadable_notes(pixels.unreadable),
            *blank_notes(pixels, searched, common.transparent),
            *split.notes,
            *near_notes,
        ),
    )


def label_distribution(data: SearchData) -> dict[str, dict[str, int]]:
    """Images per class of each split: `{"train": {class: images}, "val": {class: images}}`."""
    return {
        part: dict(zip(data.classes, images.class_counts(len(data.classes)).tolist(), strict=True))
        for part, images in (("train", data.train), ("val", data.val))
    }


def _image_set(pixels: Pixels, files: Sequence[ImageFile], rows_M: IntArray) -> ImageSet:
    labels_M = np.array([files[row].label for row in rows_M], dtype=np.int64)
    return ImageSet(pool_NHWC=pixels.pool_NHWC, rows_M=rows_M, labels_M=labels_M)


def _statistics(pixels: Pixels, rows_M: IntArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of some pictures, in units of 0..1."""
    _, height, width, _ = pixels.pool_NHWC.shape
    sums_2C = pixels.sums_N2C[rows_M].sum(axis=0)
    mean_C, mean_square_C = sums_2C / (len(rows_M) * height * width)
    std_C = np.sqrt(np.maximum(mean_square_C - mean_C**2, 0)) / 255
    return tuple((mean_C / 255).tolist()), tuple(np.maximum(std_C, _SMALLEST_STD).tolist())


def _unreadable_notes(unreadable: dict[str, str]) -> list[str]:
    return [f"{shown_name(name)}: left out, unreadable ({reason})" for name, reason in unreadable.items()]
