import shutil
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.partition import Partition, open_partition
from data.spec import DataSpec

BROUGHT = {f"{part}/{name}": 6 for part in ("train", "val", "test") for name in "ab"}


def partition_of(root: Path, cache_home: Path, **spec: object) -> Partition:
    return open_partition(DataSpec(source=str(root), **spec), cache_home, cache_home)  # type: ignore[arg-type]


def names(files) -> set[str]:
    return {file.name for file in files}


def test_an_image_that_is_also_in_the_test_set_is_named_and_not_searched(make_folder, cache_home: Path) -> None:
    root = make_folder(BROUGHT)
    shutil.copy(root / "test/a/000.png", root / "train/b/leak.png")
    partition = partition_of(root, cache_home)
    assert "train/b/leak.png" not in names(partition.searched)
    assert "test/a/000.png" in names(partition.sealed)
    assert "1 image left out, also in the test set: train/b/leak.png" in partition.notes


def test_of_copies_only_the_first_is_searched_and_they_are_counted(make_folder, cache_home: Path) -> None:
    root = make_folder(BROUGHT)
    shutil.copy(root / "train/a/000.png", root / "train/a/copy.png")
    shutil.copy(root / "train/a/000.png", root / "val/a/copy.png")
    partition = partition_of(root, cache_home)
    assert len(partition.searched) == 24
    assert "train/a/000.png" in names(partition.searched)
    assert any(note.startswith("2 images left out, identical to others byte for byte") for note in partition.notes)


def test_an_image_under_two_labels_is_used_under_neither_and_named(make_folder, cache_home: Path) -> None:
    root = make_folder(BROUGHT)
    shutil.copy(root / "train/a/000.png", root / "train/b/copy.png")
    partition = partition_of(root, cache_home)
    assert len(partition.searched) == 23
    assert not {"train/a/000.png", "train/b/copy.png"} & names(partition.searched)
    assert ("warning: 1 image left out because of two labels: train/a/000.png = train/b/copy.png") in partition.notes


def test_copies_that_balance_a_class_are_recognised(make_folder, cache_home: Path) -> None:
    root = make_folder({"a": 20, "b": 5})
    for number in range(15):
        shutil.copy(root / f"b/{number % 5:03}.png", root / f"b/copy-{number}.png")
    partition = partition_of(root, cache_home)
    assert any("15 of them in class b: to balance the classes without copies" in note for note in partition.notes)


def test_all_classes_that_are_too_small_are_named(make_folder, cache_home: Path) -> None:
    root = make_folder({"a": 20, "b": 2, "c": 20, "d": 1})
    with pytest.raises(UserError, match=r"2 classes are too small to split: b \(2\), d \(1\); each needs at least 3"):
        partition_of(root, cache_home)


def test_copies_never_lie_on_both_sides_of_a_test_part_set_aside(make_folder, cache_home: Path) -> None:
    root = make_folder({"a": 20, "b": 20})
    for path in list(root.glob("*/*.png")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    partition = partition_of(root, cache_home)
    contents = [{(root / file.name).read_bytes() for file in files} for files in (partition.searched, partition.sealed)]
    assert not contents[0] & contents[1]
    assert (len(contents[0]), len(contents[1])) == (32, 8)


def test_the_test_part_set_aside_is_stratified_and_the_same_for_every_split_seed(make_folder, cache_home: Path) -> None:
    root = make_folder({"a": 20, "b": 10})
    sealed = [partition_of(root, cache_home, split_seed=seed).sealed for seed in (0, 1)]
    assert sealed[0] == sealed[1]
    assert np.bincount([file.label for file in sealed[0]]).tolist() == [4, 2]


def test_the_fingerprint_of_the_searched_files_does_not_depend_on_the_test_files(make_folder, cache_home: Path) -> None:
    root = make_folder(BROUGHT)
    before = partition_of(root, cache_home)
    (root / "test/a/000.png").write_bytes(b"another")
    after = partition_of(root, cache_home)
    assert after.fingerprint == before.fingerprint
    assert after.sealed_fingerprint != before.sealed_fingerprint


@pytest.mark.parametrize(
    ("folders", "spec", "needed"),
    [
        ({"a": 9, "b": 2}, {}, 3),
        ({"a": 9, "b": 5}, {"folds": 5}, 6),
        ({"train/a": 1, "train/b": 9} | {"test/a": 1, "test/b": 1}, {}, 2),
    ],
)
def test_a_class_too_small_to_split_is_refused_before_anything_is_written(
    make_folder, cache_home: Path, folders, spec, needed: int
) -> None:
    root = make_folder(folders)
    with pytest.raises(UserError, match=f"too small to split: it has . and needs at least {needed} images"):
        partition_of(root, cache_home, **spec)
    assert not cache_home.exists()


def test_with_folds_a_class_may_lie_mostly_among_the_validation_images(make_folder, cache_home: Path) -> None:
    root = make_folder({"train/a": 4, "val/a": 10, "train/b": 9, "val/b": 9, "test/a": 1, "test/b": 1})
    assert len(partition_of(root, cache_home, folds=5).searched) == 32
