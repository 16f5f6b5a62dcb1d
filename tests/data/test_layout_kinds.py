"""Layouts of public sets and exporters, each with the right outcome."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import UserError
from data.find_pictures import find_pictures
from data.layout import Layout, scan_folder
from data.part_names import find_part_names


def _parts(layout: Layout) -> dict[str, int]:
    return {part: layout.count(part) for part in ("train", "val", "test") if layout.count(part)}


def _said(layout: Layout, *words: str) -> bool:
    return any(all(word in note for word in words) for note in layout.notes)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training", "Testing"),
        ("Training", "Test"),
        ("TRAIN", "TEST"),
        ("training_set", "test_set"),
        ("train_images", "test_images"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/train", "test/test"),
        ("train/images", "test/images"),
        ("asl_alphabet_train/asl_alphabet_train", "asl_alphabet_test/asl_alphabet_test"),
        ("trainset", "testset"),
        ("Fruits-360/Training", "Fruits-360/Test"),
        ("archive/archive/train", "archive/archive/test"),
        ("flowers102_trn", "flowers102_tst"),
        ("train2017", "val2017"),
        ("a-train", "a-dev"),
    ],
)
def test_parts_are_known_by_the_names_that_public_sets_use(
    make_folder: Callable[..., Path], train: str, test: str
) -> None:
    layout = scan_folder(make_folder({f"{part}/{name}": 2 for part in (train, test) for name in ("ants", "bees")}))
    assert layout.classes == ("ants", "bees")
    assert _parts(layout) == {"train": 4, "test": 4}
    assert layout.read(layout.files[0].name).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "names",
    [("steam_train", "test_tube"), ("bus", "car"), ("development", "testing")],
    ids=lambda names: "+".join(names),
)
def test_folders_that_only_remind_of_parts_are_none(names: tuple[str, str]) -> None:
    assert "train" not in find_part_names(names).values()


def test_a_class_called_train_is_a_class(make_folder: Callable[..., Path]) -> None:
    layout = scan_folder(make_folder({"bus": 3, "car": 3, "train": 3}))
    assert layout.classes == ("bus", "car", "train")
    assert _said(layout, "train/ beside bus/, car/: taken as classes")


def test_folders_in_train_beside_other_folders_are_a_question_that_names_all(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"bus": 3, "car": 3, "train/steam": 3, "train/diesel": 3})
    with pytest.raises(UserError, match=r"train/ holds folders \(diesel, steam\), and bus/, car/ lie beside it"):
        scan_folder(root)


def test_a_folder_beside_the_parts_does_not_vanish_silently(make_folder: Callable[..., Path]) -> None:
    root = make_folder({f"{part}/{c}": 3 for part in ("seg_train", "seg_test") for c in "ab"} | {"seg_pred": 4})
    layout = scan_folder(root)
    assert layout.classes == ("a", "b")
    assert _said(layout, "seg_pred/ beside seg_test/, seg_train/: not used")


@pytest.mark.parametrize("test", ["test", "test/test", "test/images", "test/unknown"])
def test_a_test_folder_without_labels_is_left_aside(make_folder: Callable[..., Path], test: str) -> None:
    layout = scan_folder(make_folder({"train/a": 3, "train/b": 3, test: 5}))
    assert _parts(layout) == {"train": 6}
    assert _said(layout, "test/ 5 images outside class folders", "not used", "sealed instead")


def test_parts_in_every_class_folder_are_parts(make_folder: Callable[..., Path]) -> None:
    layout = scan_folder(make_folder({f"{c}/{part}": n for c in ("a", "b") for part, n in (("Train", 3), ("test", 2))}))
    assert layout.classes == ("a", "b")
    assert _parts(layout) == {"train": 6, "test": 4}
    assert {file.name for file in layout.files if file.part == "test" and file.label == 1} == {
        "b/test/000.png",
        "b/test/001.png",
    }


@pytest.mark.parametrize("root_of_classes", [".", "train"])
def test_loose_pictures_beside_classes_are_counted_and_named(
    make_folder: Callable[..., Path], root_of_classes: str
) -> None:
    layout = scan_folder(make_folder({f"{root_of_classes}/a": 3, f"{root_of_classes}/b": 3, root_of_classes: 7}))
    assert layout.count("train") == 6
    assert _said(layout, "7 images in ", "not used: ", "000.png", "and 2 more")


def test_what_systems_leave_behind_is_neither_class_nor_picture(make_folder: Callable[..., Path]) -> None:
    left = ("@eaDir/x", ".ipynb_checkpoints", "a/@eaDir/0.png", "a/.ipynb_checkpoints", "__MACOSX/a", "#recycle")
    root = make_folder({"a": 2, "b": 2, **dict.fromkeys(left, 2)})
    for name in ("._000.png", "Thumbs.db", "desktop.ini", ".DS_Store"):
        (root / "a" / name).write_bytes(b"x")
    layout = scan_folder(root)
    assert layout.classes == ("a", "b")
    assert layout.count("train") == 4
    assert [path.name for path in find_pictures([root])] == ["000.png", "001.png"] * 2
    assert not _said(layout, "ignored")


@pytest.mark.parametrize("mark", [".sieve-home", "sieve.db", "cache/manifests/x.json", ".sieve-output.json"])
def test_what_sieve_writes_among_the_pictures_is_neither_class_nor_picture(
    make_folder: Callable[..., Path], mark: str
) -> None:
    root = make_folder({"cats": 2, "dogs": 2, "runs/pictures": 3, "cats/runs": 1})
    for home in (root / "runs", root / "cats/runs"):
        (home / mark).parent.mkdir(parents=True, exist_ok=True)
        (home / mark).write_text("")
    layout = scan_folder(root)
    assert layout.classes == ("cats", "dogs")
    assert layout.count("train") == 4
    assert len(find_pictures([root])) == 4


def test_nfc_and_nfd_are_one_name(make_folder: Callable[..., Path]) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    folders = {f"train/{decomposed}": 2, "train/tea": 2, f"test/{composed}": 2, "test/tea": 2}
    layout = scan_folder(make_folder(folders))
    assert layout.classes == (composed, "tea")
    assert _parts(layout) == {"train": 4, "test": 4}
    assert all(layout.read(file.name) for file in layout.files)


def test_two_folders_of_one_name_are_one_class(make_folder: Callable[..., Path]) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    root = make_folder({composed: 2, "tea": 2, decomposed: 1})
    if len(os.listdir(root)) < 3:
        pytest.skip("this file system knows one form only")
    layout = scan_folder(root)
    assert layout.classes == (composed, "tea")
    assert layout.count("train") == 5
    assert _said(layout, "are one class")


def test_a_class_name_that_is_not_utf8_is_refused_with_the_remedy(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cafe": 2, "tea": 2})
    os.rename(os.fsencode(root / "cafe"), os.fsencode(root) + b"/caf\xe9")
    with pytest.raises(UserError, match=r"caf\\xe9: the name is not UTF-8; rename it, for example with `convmv"):
        scan_folder(root)


def test_links_that_go_round_in_a_circle_end(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cats": 2, "dogs": 2})
    (root / "all").symlink_to(root)
    (root / "cats/again").symlink_to(root / "cats")
    layout = scan_folder(root)
    assert layout.classes == ("cats", "dogs")
    assert layout.count("train") == 4
    assert len(find_pictures([root])) == 4


def test_a_class_folder_may_be_a_link(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folder({"cats": 2, "dogs": 2})
    (root / "dogs").rename(tmp_path / "elsewhere")
    (root / "dogs").symlink_to(tmp_path / "elsewhere")
    assert scan_folder(root).classes == ("cats", "dogs")


def test_a_single_folder_of_folders_is_a_question_with_the_command(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"mine/cats": 2, "mine/dogs": 2})
    with pytest.raises(UserError, match=re.escape(f"if cats, dogs are the classes, give --data {root / 'mine'}")):
        scan_folder(root)


def test_heic_pictures_without_a_decoder_are_counted_with_the_remedy(make_folder, monkeypatch) -> None:
    from data import ignored

    monkeypatch.setattr(ignored, "image_suffixes", lambda: ignored._IMAGE_SUFFIXES)
    root = make_folder({"a": 2, "b": 2})
    for number in range(3):
        (root / f"a/{number}.HEIC").write_bytes(b"")
    layout = scan_folder(root)
    assert layout.count("train") == 4
    assert "3 HEIC or AVIF images not read; to use them: pip install 'sieve-search[heif]'" in layout.notes
