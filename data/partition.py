"""What a search may see and what is sealed: decided once, by content, before a picture is decoded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from data.errors import UserError
from data.fingerprint import content_hashes, fingerprint
from data.groups import Groups, assign_groups, find_groups, group_numbers
from data.layout import ImageFile, Layout
from data.progress import Progress
from data.readers import Readers
from data.sealing import Sealed, check_sealed
from data.source import find_layout
from data.spec import DataSpec
from data.splits import BoolArray, Draw, stratified_part
from data.text import listed, plural

_TEST_SEED = 0
"""Not the split's seed: another seed must never move an image from the sealed test set into training."""
_NAMED = 3
"""File names in a note before the rest is only counted."""
_SMALL_CLASSES_NAMED = 20
_BALANCING_SHARE = 0.9
"""Share of all copies that lie in one class, from which they are taken for copies that balance it."""


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
    groups: Groups
    """File name -> group, of images that stay together."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Name -> reason, of test files that cannot be read."""
    lost: tuple[str, ...] = ()
    """Test files that are gone or unreadable since the study began."""


def open_partition(
    spec: DataSpec,
    data_home: Path,
    cache_home: Path,
    progress: Progress | None = None,
    pinned: str | None = None,
) -> Partition:
    """Find the data, hash what is new of it, and divide it. Raises UserError for data that cannot be divided.

    With `pinned`, the sealed fingerprint of a study, the test set stays what it was then: what is lost of it is listed,
    and nothing comes in its place.
    """
    with Readers(find_layout(spec.source, data_home, progress, columns=spec.columns)) as readers:
        return read_partition(spec, readers, cache_home, progress, pinned)


def read_partition(
    spec: DataSpec,
    readers: Readers,
    cache_home: Path,
    progress: Progress | None = None,
    pinned: str | None = None,
) -> Partition:
    """`open_partition` of files that somebody is going to decode next: the readers keep what they have read."""
    layout = readers.layout
    check_class_sizes(layout, spec)
    hashes = content_hashes(readers, cache_home, progress)
    known = Sealed.read(cache_home, pinned) if pinned else None
    if known and _was_changed(known, layout, hashes):
        known = None
    partition = divide(layout, hashes, spec, known.hashes if known else None)
    sealed = check_sealed(layout, partition.sealed, hashes, cache_home, spec, progress)
    kept = tuple(file for file in partition.sealed if file.name not in sealed.unreadable)
    _check_not_empty(kept, layout)
    left_out = known.unreadable if known else sealed.unreadable
    if known:
        present = {file.name for file in kept}
        return replace(
            partition, sealed=kept, left_out=left_out, lost=tuple(name for name in known.hashes if name not in present)
        )
    sealed.write(cache_home, sealed_fingerprint := fingerprint(kept, hashes))
    return replace(
        partition,
        left_out=left_out,
        sealed=kept,
        sealed_fingerprint=sealed_fingerprint,
        notes=(*partition.notes, *sealed.notes()),
    )


def check_class_sizes(layout: Layout, spec: DataSpec) -> None:
    """Raise UserError where classes are too small to have an image in every part, before anything is read."""
    parts = {"train": 1, "val": 0 if layout.count("val") else 1, "test": 0 if layout.count("test") else 1}
    needed = sum(parts.values()) if spec.folds < 2 else spec.folds + parts["test"]
    # Folds divide the images of a validation set anew.
    divided = ("train",) if spec.folds < 2 else ("train", "val")
    counts = np.bincount([file.label for file in layout.files if file.part in divided], minlength=len(layout.classes))
    small = np.flatnonzero(counts < needed)
    if len(small) == 1:
        raise UserError(
            f"{layout.root}: class {layout.classes[small[0]]} is too small to split: it has {counts[small[0]]} and "
            f"needs at least {needed} images; add images or leave the class out"
        )
    if len(small):
        names = listed([f"{layout.classes[label]} ({counts[label]})" for label in small], _SMALL_CLASSES_NAMED)
        raise UserError(
            f"{layout.root}: {len(small)} classes are too small to split: {names}; each needs at least {needed} "
            "images; add images or leave the classes out"
        )


def divide(
    layout: Layout, hashes: Mapping[str, str], spec: DataSpec, pinned: Mapping[str, str] | None = None
) -> Partition:
    """Divide by content: what is also in the test set is not searched, and of equal files only the first is.

    Equal files of different classes are not searched at all. `pinned` are the names and hashes of a test set that was
    sealed earlier; what is left of it is the test set. Raises UserError where a class is left without images.
    """
    groups, group_notes = find_groups(layout, spec)
    notes = [*layout.notes, *group_notes]
    if pinned is not None:
        sealed = [file for file in layout.files if pinned.get(file.name) == hashes[file.name]]
        candidates = [file for file in layout.files if file.part != "test" and file.name not in pinned]
    else:
        sealed = [file for file in layout.files if file.part == "test"]
        candidates = [file for file in layout.files if file.part != "test"]
    pool, dropped, contradictory = _without_copies(candidates, hashes)
    notes += _copy_notes(dropped, contradictory, layout)
    if sealed or pinned is not None:
        test_hashes = {hashes[file.name] for file in sealed} | set((pinned or {}).values())
        test_groups = {groups[file.name] for file in sealed if file.name in groups}
        leaked = [file for file in pool if hashes[file.name] in test_hashes]
        pool = [file for file in pool if hashes[file.name] not in test_hashes]
        if leaked:
            notes.append(f"{plural(len(leaked), 'image')} left out, also in the test set: {_named(leaked)}")
        torn = [file for file in pool if groups.get(file.name) in test_groups]
        if torn:
            pool = [file for file in pool if groups.get(file.name) not in test_groups]
            notes.append(f"{plural(len(torn), 'image')} left out, of groups in the test set: {_named(torn)}")
    else:
        test_M = _draw_test(pool, layout, groups, spec.test_fraction)
        sealed = [file for file, is_test in zip(pool, test_M, strict=True) if is_test]
        pool = [file for file, is_test in zip(pool, test_M, strict=True) if not is_test]
        share = f"{'about ' if groups else ''}{spec.test_fraction:.0%} of each class"
        notes.append(f"{plural(len(sealed), 'image')} set aside as the sealed test set: {share}")
    return Partition(
        layout=layout,
        searched=tuple(pool),
        sealed=tuple(sealed),
        fingerprint=fingerprint(pool, hashes),
        sealed_fingerprint=fingerprint(sealed, hashes),
        notes=tuple(notes),
        groups=groups,
    )


def _draw_test(pool: Sequence[ImageFile], layout: Layout, groups: Groups, fraction: float) -> BoolArray:
    labels_M = np.array([file.label for file in pool], dtype=np.int64)
    if not groups:
        return stratified_part(labels_M, fraction, _TEST_SEED, Draw.TEST)
    shares = (fraction, 1 - fraction)
    seed = (_TEST_SEED, Draw.TEST)
    parts_M = assign_groups(labels_M, group_numbers(pool, groups), shares, layout.classes, seed)
    return np.asarray(parts_M == 0)


def _without_copies(
    files: Sequence[ImageFile], hashes: Mapping[str, str]
) -> tuple[list[ImageFile], list[ImageFile], list[list[ImageFile]]]:
    """The first of each content, its copies, and contents that lie under several labels, which are in neither."""
    by_content: dict[str, list[ImageFile]] = defaultdict(list)
    for file in files:
        by_content[hashes[file.name]].append(file)
    contradictory = [equal for equal in by_content.values() if len({file.label for file in equal}) > 1]
    torn = {file.name for equal in contradictory for file in equal}
    first = {id(equal[0]) for equal in by_content.values()}
    kept = [file for file in files if id(file) in first and file.name not in torn]
    copies = [file for file in files if id(file) not in first and file.name not in torn]
    return kept, copies, contradictory


def _copy_notes(
    dropped: Sequence[ImageFile], contradictory: Sequence[Sequence[ImageFile]], layout: Layout
) -> list[str]:
    notes = []
    if dropped:
        label, most = Counter(file.label for file in dropped).most_common(1)[0]
        balancing = len(dropped) > 1 and most >= _BALANCING_SHARE * len(dropped)
        hint = (
            f"; {most} of them in class {layout.classes[label]}: to balance the classes without copies, "
            "use `--set sampling=balanced`"
        )
        notes.append(
            f"{plural(len(dropped), 'image')} left out, identical to others byte for byte: {_named(dropped)}"
            f"{hint * balancing}"
        )
    if contradictory:
        pairs = listed([" = ".join(file.name for file in equal) for equal in contradictory], _NAMED)
        notes.append(f"warning: {plural(len(contradictory), 'image')} left out because of two labels: {pairs}")
    return notes


def _was_changed(known: Sealed, layout: Layout, hashes: Mapping[str, str]) -> bool:
    """Whether the test set holds other images than when it was sealed, and has not only lost some."""
    replaced = any(known.hashes.get(file.name, hashes[file.name]) != hashes[file.name] for file in layout.files)
    added = any(
        file.part == "test" and file.name not in known.hashes and file.name not in known.unreadable
        for file in layout.files
    )
    return replaced or added


def _check_not_empty(sealed: Sequence[ImageFile], layout: Layout) -> None:
    if not sealed:
        raise UserError(f"{layout.root}: none of the test images can be read; check the files")


def _named(files: Sequence[ImageFile]) -> str:
    return listed([file.name for file in files], _NAMED)
