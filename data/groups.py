"""Which pictures belong together, of one patient, burst, video or product, and splits that keep them together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from data.arrays import IntArray
from data.errors import UserError
from data.layout import ImageFile, Layout
from data.spec import DataSpec
from data.text import listed, plural

BY_FOLDER, BY_COLUMN = "folder", "column"
Groups = Mapping[str, str]
"""File name -> group. A file that is missing is a group of its own."""


def find_groups(layout: Layout, spec: DataSpec) -> tuple[Groups, tuple[str, ...]]:
    """The groups that `spec.group` asks for, or that the source names itself, and what was found, for people.

    Raises UserError for an invalid expression, one that no name matches, and a column that is not there.
    """
    if not spec.group and not layout.groups:
        return {}, ()
    if spec.group in ("", BY_COLUMN):
        if not layout.groups:
            raise UserError(
                "--group column: there is no table of labels with a column `group`; add it, or give --group REGEX"
            )
        groups, how = dict(layout.groups), "the table's column"
    elif spec.group == BY_FOLDER:
        groups, how = {file.name: file.name.rpartition("/")[0] for file in layout.files}, "folder"
    else:
        groups, how = _by_expression(layout.files, spec.group), f"--group {spec.group!r}"
    sizes = np.unique(list(groups.values()), return_counts=True)[1]
    alone = len(layout.files) - len(groups)
    rest = f"; {plural(alone, 'image')} without a group" if alone else ""
    return groups, (
        f"{plural(len(sizes), 'group')} of images by {how}, the largest of {sizes.max()}: each stays in one of "
        f"training, validation and test{rest}",
    )


def _by_expression(files: Sequence[ImageFile], expression: str) -> dict[str, str]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UserError(f"--group {expression!r}: not a regular expression: {error}") from None
    groups = {}
    for file in files:
        match = pattern.search(file.name)
        if match:
            groups[file.name] = "/".join(part or "" for part in match.groups()) if match.groups() else match[0]
    if not groups:
        raise UserError(
            f"--group {expression!r}: matches no file name; the names look like {listed([f.name for f in files], 2)}"
        )
    return groups


def group_numbers(files: Sequence[ImageFile], groups: Groups) -> IntArray:
    """A number for each file's group; files without one get numbers of their own."""
    numbers: dict[str, int] = {}
    # "\0" cannot be part of a file's name, so that no group is called like it.
    keys = [f"group\0{groups[file.name]}" if file.name in groups else file.name for file in files]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def assign_groups(
    labels_M: IntArray, groups_M: IntArray, shares: Sequence[float], classes: Sequence[str], seed: Sequence[int]
) -> IntArray:
    """The part of each image, from 0, so that groups stay whole and each part gets its share of each class.

    Large groups are placed first, each where it is missed most. Every part gets an image of every class; raises
    UserError where a class has too few groups. Source: the greedy method of scikit-learn's StratifiedGroupKFold.
    """
    parts = len(shares)
    members = _members(groups_M)
    contents = [np.unique(labels_M[rows], return_counts=True) for rows in members]
    totals_C = np.bincount(labels_M, minlength=len(classes)).astype(np.float64)
    missing_PC = np.outer(shares, totals_C)
    order = np.random.Generator(np.random.PCG64(list(seed))).permutation(len(members))
    order = order[np.argsort([-len(members[group]) for group in order], kind="stable")]
    part_G = np.zeros(len(members), dtype=np.int64)
    for group in order:
        labels, counts = contents[group]
        gains_P = (counts * (2 * missing_PC[:, labels] - counts) / totals_C[labels]).sum(axis=1)
        part_G[group] = int(gains_P.argmax())
        missing_PC[part_G[group], labels] -= counts
    _give_each_part_every_class(part_G, contents, parts, classes)
    part_M = np.zeros(len(labels_M), dtype=np.int64)
    for group, rows in enumerate(members):
        part_M[rows] = part_G[group]
    return part_M


def _give_each_part_every_class(
    part_G: IntArray, contents: Sequence[tuple[npt.NDArray[np.int64], IntArray]], parts: int, classes: Sequence[str]
) -> None:
    """Move small groups to parts that lack one of their classes, from parts that keep another group of each."""
    groups_PC = np.zeros((parts, len(classes)), dtype=np.int64)
    for group, (labels, _) in enumerate(contents):
        groups_PC[part_G[group], labels] += 1
    by_size = sorted(range(len(contents)), key=lambda group: int(contents[group][1].sum()))
    for part, label in np.argwhere(groups_PC == 0).tolist():
        if groups_PC[part, label] or not groups_PC[:, label].any():
            continue
        for group in by_size:
            labels = contents[group][0]
            if label in labels and (groups_PC[part_G[group], labels] > 1).all():
                groups_PC[part_G[group], labels] -= 1
                part_G[group] = part
                groups_PC[part, labels] += 1
                break
        else:
            raise UserError(
                f"class {classes[label]}: its images form {int(groups_PC[:, label].sum())} groups, too few to put "
                "one into each split; add images, change the groups, or leave the class out"
            )


def _members(groups_M: IntArray) -> list[IntArray]:
    """The rows of each group, by the group's number."""
    order = np.argsort(groups_M, kind="stable")
    borders = np.flatnonzero(np.diff(groups_M[order])) + 1
    return [rows.astype(np.int64) for rows in np.split(order, borders)] if len(groups_M) else []
