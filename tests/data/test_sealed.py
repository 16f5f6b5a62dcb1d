from pathlib import Path

import pytest

from data.cache import open_search_data
from data.errors import UserError
from data.partition import open_partition
from data.sealed import SealedTest, open_test_images
from data.spec import DataSpec

FOLDERS = {"train/a": 6, "train/b": 6, "val/a": 3, "val/b": 2}


def open_sealed(root: Path, home: Path, classes: tuple[str, ...] = ("a", "b")) -> SealedTest:
    spec = DataSpec(source=str(root))
    return open_test_images(
        spec, classes=classes, channels=3, image_size=12, image_fit="crop", data_home=home, cache_home=home
    )


def test_the_test_images_are_decoded_with_their_labels(make_folder, cache_home: Path) -> None:
    sealed = open_sealed(make_folder(FOLDERS), cache_home)
    assert sealed.images.labels_M.tolist() == [0, 0, 0, 1, 1]
    assert sealed.images.image_shape == (12, 12, 3)
    assert sealed.note == "5 test images"


def test_no_test_picture_is_ever_written_to_the_cache(make_folder, cache_home: Path) -> None:
    root = make_folder(FOLDERS)
    open_sealed(root, cache_home)
    assert not list(cache_home.rglob("*.npy"))


def test_other_classes_than_the_searched_ones_are_refused(make_folder, cache_home: Path) -> None:
    with pytest.raises(UserError, match="has the classes a, b, but the study has b, a"):
        open_sealed(make_folder(FOLDERS), cache_home, classes=("b", "a"))


def test_an_unreadable_test_image_is_named(make_folder, cache_home: Path) -> None:
    root = make_folder(FOLDERS)
    (root / "val/a/001.png").write_bytes(b"broken")
    sealed = open_sealed(root, cache_home)
    assert len(sealed.images) == 4
    assert "val/a/001.png left out, unreadable" in sealed.note


def test_the_data_of_a_search_knows_nothing_of_test_images(make_folder, open_data) -> None:
    root = make_folder(FOLDERS)
    found = open_data(root)
    assert len(found.train.pool_NHWC) == 12, "the pool that is shared with every worker holds no test image"
    assert not any("val/a/" in str(value) for value in vars(found).values())


@pytest.mark.parametrize("folders", [FOLDERS, {"a": 20, "b": 20}])
def test_what_cannot_be_read_is_left_out_when_it_is_sealed_and_may_then_be_removed(
    make_folder, cache_home: Path, folders: dict[str, int]
) -> None:
    root = make_folder(folders)
    spec = DataSpec(source=str(root))
    first = open_partition(spec, cache_home, cache_home).sealed[0]
    (root / first.name).write_bytes(b"broken")
    searched = open_search_data(spec, image_size=None, image_fit="crop", data_home=cache_home, cache_home=cache_home)
    assert any(f"1 test image left out, unreadable: {first.name}" in note for note in searched.notes)
    (root / first.name).unlink()
    rest = open_partition(spec, cache_home, cache_home, pinned=searched.sealed_fingerprint)
    assert (rest.fingerprint, rest.sealed_fingerprint) == (searched.fingerprint, searched.sealed_fingerprint)
    assert not rest.lost


@pytest.mark.parametrize("folders", [FOLDERS, {"a": 20, "b": 20}])
def test_what_is_lost_later_leaves_a_look_at_the_rest_and_nothing_takes_its_place(
    make_folder, cache_home: Path, folders: dict[str, int]
) -> None:
    root = make_folder(folders)
    spec = DataSpec(source=str(root))
    before = open_partition(spec, cache_home, cache_home)
    lost = before.sealed[1].name
    (root / lost).unlink()
    rest = open_partition(spec, cache_home, cache_home, pinned=before.sealed_fingerprint)
    assert rest.lost == (lost,)
    assert rest.fingerprint == before.fingerprint
    assert [file.name for file in rest.sealed] == [file.name for file in before.sealed if file.name != lost]
    sealed = open_test_images(
        spec, classes=("a", "b"), channels=3, image_size=12, image_fit="crop",
        data_home=cache_home, cache_home=cache_home, pinned=before.sealed_fingerprint,
    )  # fmt: skip
    assert f"1 lost since they were sealed: {lost}" in sealed.note


@pytest.mark.parametrize("change", ["replaced", "added"])
def test_a_test_set_with_other_images_has_another_fingerprint(make_folder, cache_home: Path, change: str) -> None:
    root = make_folder(FOLDERS)
    spec = DataSpec(source=str(root))
    before = open_partition(spec, cache_home, cache_home)
    other = (root / "train/a/000.png").read_bytes()
    (root / ("val/a/000.png" if change == "replaced" else "val/a/new.png")).write_bytes(other + b"x")
    after = open_partition(spec, cache_home, cache_home, pinned=before.sealed_fingerprint)
    assert not after.lost
    assert after.sealed_fingerprint != before.sealed_fingerprint
