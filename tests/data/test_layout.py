import re
from pathlib import Path

import pytest

from data.errors import UserError
from data.layout import scan_folder


def test_test_is_sealed_and_val_beside_it_validates(make_folder) -> None:
    root = make_folder({f"{part}/{name}": 2 for part in ("train", "validation", "test") for name in ("ants", "bees")})
    layout = scan_folder(root)
    assert [layout.count(part) for part in ("train", "val", "test")] == [4, 4, 4]
    assert {file.name.split("/")[0] for file in layout.files if file.part == "val"} == {"validation"}


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_val_alone_is_the_sealed_test_set_with_a_note(make_folder, name: str) -> None:
    root = make_folder({f"train/{c}": 3 for c in "ab"} | {f"{name}/{c}": 2 for c in "ab"})
    layout = scan_folder(root)
    assert (layout.count("val"), layout.count("test")) == (0, 4)
    assert f"{name}/ 4 images: taken as the sealed test set (no test/ beside it)" in layout.notes


def test_class_folders_may_lie_directly_below_the_root(make_folder) -> None:
    layout = scan_folder(make_folder({"cats": 3, "dogs": 3}))
    assert layout.classes == ("cats", "dogs")
    assert layout.count("train") == 6


def test_files_come_in_one_order_whatever_the_system_lists_first(make_folder) -> None:
    layout = scan_folder(make_folder({"train/b": 3, "train/a": 3}))
    names = [file.name for file in layout.files]
    assert names == sorted(names)
    assert [file.label for file in layout.files] == [0, 0, 0, 1, 1, 1]


def test_folders_below_a_class_are_followed(make_folder) -> None:
    layout = scan_folder(make_folder({"train/a/2023": 2, "train/a/2024/may": 1, "train/b": 2}))
    assert layout.classes == ("a", "b")
    assert [file.label for file in layout.files] == [0, 0, 0, 1, 1]


def test_hidden_files_are_ignored_and_other_files_are_counted(make_folder) -> None:
    root = make_folder({"train/a": 2, "train/b": 2, "train/.cache": 1})
    (root / "train/a/.hidden.png").write_bytes(b"")
    (root / "train/a/labels.csv").write_text("")
    layout = scan_folder(root)
    assert layout.count("train") == 4
    assert "1 other file ignored: 1 .csv" in layout.notes


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"train/a": 2}, "a single class, a"),
        ({"train/a": 2, "train/b": 0}, "no images in class b"),
        ({"train/a": 0, "train/b": 0}, "its class folders contain no images"),
        ({"train": 3}, "3 images but no class folders"),
        ({"train": 0}, "no images; put the images into one folder per class"),
        ({"test/a": 2, "test/b": 2}, "has test/ but no train/"),
        ({"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1, "valid/a": 1, "valid/b": 1}, "are both a val set"),
        (
            {"train/a": 2, "train/b": 2, "test/a": 1, "test/c": 1},
            "test: lacks b and adds c compared with train/; both need the same classes",
        ),
    ],
)
def test_a_folder_that_cannot_be_searched_is_refused_in_one_line(make_folder, folders, message) -> None:
    root = make_folder(folders)
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        scan_folder(root)
    assert str(root) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_such_folder_and_not_a_folder_are_different_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        scan_folder(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not a folder"):
        scan_folder(tmp_path / "file")
