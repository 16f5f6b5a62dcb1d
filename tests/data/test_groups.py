"""Groups stay together in validation, in folds and in the sealed part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.groups import assign_groups, find_groups, group_numbers
from data.layout import scan_folder
from data.partition import open_partition
from data.spec import DataSpec
from data.splits import split_files

BURSTS = {f"{c}/burst-{c}{number}": 5 for c in ("ants", "bees") for number in range(10)}
BY_BURST = r"burst-\w+"


def _group(name: str) -> str:
    return name.split("/")[-2]


@pytest.mark.parametrize("group", [BY_BURST, "folder", r"(burst)-(\w+)/"])
def test_no_group_is_on_both_sides_of_any_split(make_folder, cache_home: Path, group: str) -> None:
    spec = DataSpec(source=str(make_folder(BURSTS)), group=group)
    partition = open_partition(spec, cache_home, cache_home)
    split = split_files(partition.searched, partition.layout.classes, spec, partition.groups)
    train, val = ({_group(partition.searched[row].name) for row in rows} for rows in (split.train_M, split.val_M))
    test = {_group(file.name) for file in partition.sealed}
    assert not train & val and not train & test and not val & test
    assert (len(train), len(val), len(test)) == (12, 4, 4)
    assert any(note.startswith("20 groups of images by") for note in partition.notes)


def test_folds_keep_groups_and_hold_every_image_once(make_folder, cache_home: Path) -> None:
    held_out: list[set[str]] = []
    for fold in range(4):
        spec = DataSpec(source=str(make_folder(BURSTS)), group=BY_BURST, folds=4, fold=fold)
        partition = open_partition(spec, cache_home, cache_home)
        split = split_files(partition.searched, partition.layout.classes, spec, partition.groups)
        held_out.append({_group(partition.searched[row].name) for row in split.val_M})
    assert [len(groups) for groups in held_out] == [4, 4, 4, 4]
    assert len(set.union(*held_out)) == 16


def test_groups_are_part_of_the_splits_hash(make_folder, cache_home: Path) -> None:
    root = str(make_folder({"train/a": 6, "train/b": 6, "val/a": 2, "val/b": 2, "test/a": 2, "test/b": 2}))
    hashes = []
    for group in ("", r"train/\w/00[01]", r"train/\w/00[23]"):
        spec = DataSpec(source=root, group=group)
        partition = open_partition(spec, cache_home, cache_home)
        split = split_files(partition.searched, partition.layout.classes, spec, partition.groups)
        assert len(split.train_M) == 12
        hashes.append(split.split_hash)
    assert len(set(hashes)) == 3


def test_images_whose_group_is_in_the_brought_test_set_are_not_searched(make_folder, cache_home: Path) -> None:
    root = make_folder({"train/a": 6, "train/b": 6, "test/a": 2, "test/b": 2})
    spec = DataSpec(source=str(root), group=r"\d\d\d")
    partition = open_partition(spec, cache_home, cache_home)
    assert not {file.name[-7:-4] for file in partition.searched} & {"000", "001"}
    assert len(partition.searched) == 8
    assert any("4 images left out, of groups in the test set" in note for note in partition.notes)


def test_an_expression_that_matches_nothing_is_refused_with_a_name(make_folder) -> None:
    layout = scan_folder(make_folder({"a": 2, "b": 2}))
    with pytest.raises(UserError, match=r"matches no file name; the names look like a/000\.png, a/001\.png"):
        find_groups(layout, DataSpec(source="", group="patient-(\\d+)"))
    with pytest.raises(UserError, match="not a regular expression"):
        find_groups(layout, DataSpec(source="", group="(["))
    with pytest.raises(UserError, match="no table of labels with a column"):
        find_groups(layout, DataSpec(source="", group="column"))


def test_files_without_a_group_are_groups_of_their_own(make_folder) -> None:
    layout = scan_folder(make_folder({"a": 3, "b": 2}))
    groups, notes = find_groups(layout, DataSpec(source="", group=r"a/00[01]"))
    assert group_numbers(layout.files, {name: "x" for name in groups}).tolist() == [0, 0, 1, 2, 3]
    assert "3 images without a group" in notes[0]


@pytest.mark.parametrize("seed", range(20))
def test_every_part_gets_every_class_where_there_are_groups_enough(seed: int) -> None:
    draw = np.random.default_rng(seed)
    groups_M = draw.integers(0, 40, 300)
    labels_M = (groups_M + draw.integers(0, 2, 300)) % 6  # Groups of two classes each.
    parts_M = assign_groups(labels_M, groups_M, (0.2, 0.8), list("abcdef"), (seed, 1))
    for group in np.unique(groups_M):
        assert len(set(parts_M[groups_M == group])) == 1
    assert len(np.unique(np.stack([labels_M, parts_M]), axis=1).T) == 12
    assert 0.1 < (parts_M == 0).mean() < 0.32


def test_a_class_of_one_group_is_named(make_folder) -> None:
    with pytest.raises(UserError, match="class b: its images form 1 groups, too few"):
        assign_groups(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]), (0.5, 0.5), ["a", "b"], (0, 1))
