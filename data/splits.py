"""Division into training and validation images: exact per class, from a recorded seed, in any order of files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from data.arrays import IntArray
from data.errors import UserError
from data.groups import assign_groups, group_numbers
from data.layout import ImageFile
from data.part_names import same_name
from data.spec import DataSpec
from data.text import listed, plural

BoolArray = npt.NDArray[np.bool_]


class Draw(IntEnum):
    """What a random order is for, so that no two draws share one stream. The values decide every recorded split."""

    SAMPLE = 0
    VALIDATION = 1
    FOLD = 2
    TEST = 3
    IMBALANCE = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Positions in the list of files that was split."""

    train_M: IntArray
    val_M: IntArray
    split_hash: str
    """Hash over which file went to which part, and the seed."""
    notes: tuple[str, ...]


def split_files(
    files: Sequence[ImageFile], classes: Sequence[str], spec: DataSpec, groups: Mapping[str, str] | None = None
) -> Split:
    """Divide the files of the parts `train` and `val` as `spec` says. Files must be sorted by name.

    With folds, all files are divided anew; without, a validation set that the source brings stays what it is. `groups`
    (file name -> group) stay together. Raises UserError where a class has too few images for one in each part.
    """
    labels_N = np.array([file.label for file in files], dtype=np.int64)
    brought_val_N = np.array([file.part == "val" for file in files], dtype=np.bool_)
    pool_N = np.ones_like(brought_val_N) if spec.folds else ~brought_val_N
    groups_N = group_numbers(files, groups) if groups else None
    notes: list[str] = []
    if 0 < spec.train_images < pool_N.sum():
        pool_N[pool_N] = stratified_sample(labels_N[pool_N], spec.train_images, spec.split_seed)
        notes.append(
            f"{plural(spec.train_images, 'image')} drawn, stratified by class, seed {spec.split_seed}; others not used"
        )
    if brought_val_N.any() and not spec.folds:
        val_N = brought_val_N
        if groups_N is not None:
            torn_N = pool_N & np.isin(groups_N, groups_N[val_N])
            pool_N &= ~torn_N
            if torn_N.any():
                notes.append(f"{plural(int(torn_N.sum()), 'image')} left out, of groups in the validation set")
    else:
        _require(labels_N[pool_N], classes, max(2, spec.folds), "to train and to validate")
        val_N = np.zeros_like(pool_N)
        val_N[pool_N], how = _held_out(labels_N[pool_N], spec, classes, None if groups_N is None else groups_N[pool_N])
        notes.append(
            f"{int(val_N.sum()):,} of {plural(int(pool_N.sum()), 'image')} used for validation: {how}, "
            f"seed {spec.split_seed}"
        )
    train_M, val_M = np.flatnonzero(pool_N & ~val_N), np.flatnonzero(val_N)
    if spec.imbalance > 1:
        kept_M, how = thin_out(labels_N[train_M], classes, spec)
        train_M = train_M[kept_M]
        notes.append(how)
    for rows_M, purpose in ((train_M, "to train"), (val_M, "to validate")):
        _require(labels_N[rows_M], classes, 1, purpose)
    split_hash = _split_hash(files, train_M, val_M, spec.split_seed, groups or {})
    return Split(train_M=train_M, val_M=val_M, split_hash=split_hash, notes=tuple(notes))


def stratified_part(labels_M: IntArray, fraction: float, seed: int, draw: Draw) -> BoolArray:
    """Mark `round(fraction * n)` of the n images of each class, at least one, and never all of them."""
    marked_M = np.zeros(len(labels_M), dtype=np.bool_)
    for members in _shuffled_classes(labels_M, seed, draw):
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        marked_M[members[:count]] = True
    return marked_M


def stratified_fold(labels_M: IntArray, folds: int, fold: int, seed: int) -> BoolArray:
    """Mark one of `folds` parts of equal size, each with every class's share. Every image is in exactly one fold."""
    marked_M = np.zeros(len(labels_M), dtype=np.bool_)
    for offset, members in enumerate(_shuffled_classes(labels_M, seed, Draw.FOLD)):
        # Each class starts at another fold: otherwise the first folds get the remainder of every class.
        marked_M[members[(fold - offset) % folds :: folds]] = True
    return marked_M


def stratified_sample(labels_M: IntArray, count: int, seed: int) -> BoolArray:
    """Mark `count` images, each class by its share; what rounding leaves goes to the largest remainders."""
    classes = _shuffled_classes(labels_M, seed, Draw.SAMPLE)
    shares = np.array([len(members) for members in classes]) * count / len(labels_M)
    quotas = np.floor(shares).astype(np.int64)
    # Stable: classes with equal remainders are served in their order.
    quotas[np.argsort(quotas - shares, kind="stable")[: count - quotas.sum()]] += 1
    marked_M = np.zeros(len(labels_M), dtype=np.bool_)
    for members, quota in zip(classes, quotas, strict=True):
        marked_M[members[:quota]] = True
    return marked_M


def thin_out(labels_M: IntArray, classes: Sequence[str], spec: DataSpec) -> tuple[BoolArray, str]:
    """Mark the training images that `spec.imbalance` keeps, and describe what was done.

    A larger ratio keeps a part of what a smaller one keeps. Raises UserError for an unknown class, or one of which less
    than one image would be left.
    """
    counts_C = np.bincount(labels_M, minlength=len(classes))
    smallest = len(classes) - 1 - int(counts_C[::-1].argmin())
    if spec.rare_class and spec.rare_class not in classes:
        raise UserError(f"no class {spec.rare_class!r} to make rare; the classes are {', '.join(classes)}")
    rare = classes.index(spec.rare_class) if spec.rare_class else smallest
    largest = int(np.where(np.arange(len(classes)) == rare, -1, counts_C).argmax())
    count = min(int(counts_C[rare]), round(counts_C[largest] / spec.imbalance))
    if count < 1:
        raise UserError(
            f"class {classes[rare]}: no training image is left at an imbalance of {spec.imbalance:g} to 1, since "
            f"{classes[largest]} has {plural(int(counts_C[largest]), 'image')}; give a smaller imbalance"
        )
    marked_M = labels_M != rare
    marked_M[_shuffled(labels_M, rare, spec.split_seed, Draw.IMBALANCE)[:count]] = True
    return marked_M, (
        f"{classes[rare]} made rare: {count} of {counts_C[rare]} training images kept, seed {spec.split_seed}; "
        f"{classes[largest]} has {counts_C[largest]}, for an imbalance of {spec.imbalance:g} to 1; all "
        "validation and test images are kept"
    )


def _shuffled_classes(labels_M: IntArray, seed: int, draw: Draw) -> list[IntArray]:
    """Positions of each class in random order. A class's order does not depend on the other classes."""
    return [_shuffled(labels_M, int(label), seed, draw) for label in np.unique(labels_M)]


def _shuffled(labels_M: IntArray, label: int, seed: int, draw: Draw) -> IntArray:
    return np.random.Generator(np.random.PCG64([seed, draw, label])).permutation(np.flatnonzero(labels_M == label))


def _held_out(
    labels_M: IntArray, spec: DataSpec, classes: Sequence[str], groups_M: IntArray | None
) -> tuple[BoolArray, str]:
    if not spec.folds and groups_M is not None:
        shares = (spec.val_fraction, 1 - spec.val_fraction)
        parts_M = assign_groups(labels_M, groups_M, shares, classes, (spec.split_seed, Draw.VALIDATION))
        return parts_M == 0, f"about {spec.val_fraction:.0%} of each class, whole groups"
    if not spec.folds:
        val_M = stratified_part(labels_M, spec.val_fraction, spec.split_seed, Draw.VALIDATION)
        return val_M, f"{spec.val_fraction:.0%} of each class"
    if spec.folds < 2 or spec.fold >= spec.folds:
        raise UserError(f"data: fold {spec.fold} of {spec.folds}; give at least 2 folds and a fold from 0 to folds - 1")
    if groups_M is not None:
        equal = (1 / spec.folds,) * spec.folds
        parts_M = assign_groups(labels_M, groups_M, equal, classes, (spec.split_seed, Draw.FOLD))
        return parts_M == spec.fold, f"fold {spec.fold} of {spec.folds}, whole groups"
    return stratified_fold(labels_M, spec.folds, spec.fold, spec.split_seed), f"fold {spec.fold} of {spec.folds}"


def _require(labels_M: IntArray, classes: Sequence[str], minimum: int, purpose: str) -> None:
    counts = np.bincount(labels_M, minlength=len(classes))
    small = [f"{classes[label]} ({counts[label]})" for label in np.flatnonzero(counts < minimum).tolist()]
    if small:
        subject, them = (
            ("a class has", "the class") if len(small) == 1 else (f"{len(small)} classes have", "the classes")
        )
        raise UserError(
            f"{subject} too few images {purpose}: {listed(small, 20)}; each class needs at least {minimum}; add images "
            f"or leave {them} out"
        )


def _split_hash(
    files: Sequence[ImageFile], train_M: IntArray, val_M: IntArray, seed: int, groups: Mapping[str, str]
) -> str:
    digest = hashlib.blake2b(f"seed {seed}\n".encode(), digest_size=16)
    for part, rows_M in (("train", train_M), ("val", val_M)):
        names = sorted(same_name(files[row].name) for row in rows_M)
        digest.update("".join(f"{part}\t{name}\n" for name in names).encode("utf-8", "surrogateescape"))
    grouped = sorted(f"{name}\t{group}\n" for name, group in groups.items())
    digest.update("".join(grouped).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def hash_without(split_hash: str, dropped: Sequence[ImageFile]) -> str:
    """The hash of a split from whose training images some are taken out."""
    names = "".join(sorted(f"dropped\t{same_name(file.name)}\n" for file in dropped))
    return hashlib.blake2b(f"{split_hash}\n{names}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def check_class_counts(files: Sequence[ImageFile], train_rows: IntArray, classes: Sequence[str]) -> None:
    """Raise UserError where a class is left without an image to train on."""
    _require(np.array([files[row].label for row in train_rows.tolist()], dtype=np.int64), classes, 1, "to train")
