"""What a search may see and what is sealed: decided once, by content, before a picture is decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.class_folders import listed
from data.errors import UserError
from data.fingerprint import content_hashes, fingerprint
from data.layout import ImageFile, Layout
from data.progress import Progress
from data.readers import Readers
from data.source import find_layout
from data.spec import DataSpec
from data.splits import Draw, stratified_part

_TEST_SEED = 0
"""Not the split's seed: another seed must never move an image from the sealed test set into training."""
_NAMED = 3
"""File names in a note before the rest is only counted."""


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The files of a data set, in two parts that share no content."""

    layout: Layout
    searched: tuple[ImageFile, ...]
    """Files of the parts `train` and `val`, no content twice, sorted by name."""
    sealed: tuple[ImageFile, ...]
    """The test files, sorted by name."""
    fingerprint: str
    """Of the searched files."""
    sealed_fingerprint: str
    notes: tuple[str, ...]


def open_partition(spec: DataSpec, data_home: Path, cache_home: Path, progress: Progress | None = None) -> Partition:
    """Find the data, hash what is new of it, and divide it. Raises UserError for data that cannot be divided."""
    with Readers(find_layout(spec.source, data_home, progress)) as readers:
        return read_partition(spec, readers, cache_home, progress)


def read_partition(spec: DataSpec, readers: Readers, cache_home: Path, progress: Progress | None = None) -> Partition:
    """`open_partition` of files that somebody is going to decode next: the readers keep what they have read."""
    check_class_sizes(readers.layout, spec)
    return divide(readers.layout, content_hashes(readers, cache_home, progress), spec.test_fraction)


def check_class_sizes(layout: Layout, spec: DataSpec) -> None:
    """Raise UserError where a class is too small to have an image in every part, before anything is read or written."""
    parts = {"train": 1, "val": 0 if layout.count("val") else 1, "test": 0 if layout.count("test") else 1}
    needed = sum(parts.values()) if spec.folds < 2 else spec.folds + parts["test"]
    counts = np.bincount([file.label for file in layout.files if file.part == "train"], minlength=len(layout.classes))
    label = int(counts.argmin())
    if counts[label] < needed:
        raise UserError(
            f"{layout.root}: class {layout.classes[label]} is too small to split: it has {counts[label]} of at least "
            f"{needed} images; add images or leave the class out"
        )


def divide(layout: Layout, hashes: Mapping[str, str], test_fraction: float) -> Partition:
    """Divide by content: what is also in the test set is not searched, and of equal files only the first is."""
    sealed = [file for file in layout.files if file.part == "test"]
    notes = list(layout.notes)
    pool, dropped = _without_copies([file for file in layout.files if file.part != "test"], hashes)
    if dropped:
        notes.append(f"{len(dropped)} images left out, copies of others byte for byte: {_named(dropped)}")
    if sealed:
        test_hashes = {hashes[file.name] for file in sealed}
        leaked = [file for file in pool if hashes[file.name] in test_hashes]
        pool = [file for file in pool if hashes[file.name] not in test_hashes]
        if leaked:
            notes.append(f"{len(leaked)} images left out, they are also in the test set: {_named(leaked)}")
    else:
        labels_M = np.array([file.label for file in pool], dtype=np.int64)
        test_M = stratified_part(labels_M, test_fraction, _TEST_SEED, Draw.TEST)
        sealed = [file for file, is_test in zip(pool, test_M, strict=True) if is_test]
        pool = [file for file, is_test in zip(pool, test_M, strict=True) if not is_test]
        notes.append(f"{len(sealed)} images set aside as the sealed test set: {test_fraction:.0%} of each class")
    return Partition(
        layout=layout,
        searched=tuple(pool),
        sealed=tuple(sealed),
        fingerprint=fingerprint(pool, hashes),
        sealed_fingerprint=fingerprint(sealed, hashes),
        notes=tuple(notes),
    )


def _without_copies(files: Sequence[ImageFile], hashes: Mapping[str, str]) -> tuple[list[ImageFile], list[ImageFile]]:
    """The first of each content, and the others."""
    first: dict[str, ImageFile] = {}
    copies = [file for file in files if first.setdefault(hashes[file.name], file) is not file]
    return list(first.values()), copies


def _named(files: Sequence[ImageFile]) -> str:
    return listed([file.name for file in files], _NAMED)
