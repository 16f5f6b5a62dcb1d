"""Labels from CSV files, metadata.csv of imagefolders, and parquet files of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.cache import describe, open_search_data
from data.errors import UserError
from data.layout import Layout
from data.source import find_layout
from data.spec import DataSpec
from tests.data.parquet_files import write_parquet


@pytest.fixture
def pictures(make_folder) -> Path:
    return make_folder({"img": 12})


def _table(root: Path, header: str, lines: list[str], name: str = "labels.csv") -> Path:
    path = root / name
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def _counts(layout: Layout) -> dict[str, int]:
    return {part: layout.count(part) for part in ("train", "val", "test") if layout.count(part)}


@pytest.mark.parametrize(
    ("header", "separator"),
    [("path,label", ","), ("Filename;Breed", ";"), ("image_id\tdiagnosis", "\t"), ("x,y,id", ",")],
)
def test_the_columns_are_found_by_their_usual_names_with_a_note(pictures: Path, header: str, separator: str) -> None:
    before = ["0"] if header.startswith("x") else []
    rows = [[f"img/{n:03}.png", "cat" if n % 2 else "dog"] for n in range(12)]
    rows = [[*before, *reversed(row)] if before else row for row in rows]
    layout = find_layout(str(_table(pictures, header, [separator.join(row) for row in rows])), pictures)
    assert layout.classes == ("cat", "dog")
    assert _counts(layout) == {"train": 12}
    assert [file.label for file in layout.files][:2] == [1, 0]
    assert "by its columns path" in layout.notes[0] and "label" in layout.notes[0]
    assert layout.read(layout.files[0].name).startswith(b"\x89PNG")


def test_columns_can_be_given(pictures: Path) -> None:
    table = _table(pictures, "a,b,c", [f"img/{n:03},x,{n % 3}" for n in range(12)])
    with pytest.raises(UserError, match=r"no column is named like path or label; its columns are a, b, c; choose with"):
        find_layout(str(table), pictures)
    layout = find_layout(str(table), pictures, columns="path=a,label=c")
    assert layout.classes == ("0", "1", "2")
    with pytest.raises(UserError, match="no column 'd'; its columns are a, b, c"):
        find_layout(str(table), pictures, columns="path=d,label=c")


def test_split_and_group_come_from_the_table(pictures: Path) -> None:
    split = ["train"] * 6 + ["valid"] * 2 + ["test"] * 4
    lines = [f"img/{n:03}.png,{'ab'[n % 2]},{split[n]},p{n // 2}" for n in range(12)]
    layout = find_layout(str(_table(pictures, "path,label,split,patient", lines)), pictures)
    assert _counts(layout) == {"train": 6, "val": 2, "test": 4}
    assert layout.groups["img/003.png"] == "p1"


def test_numbers_as_labels_are_in_their_order(pictures: Path) -> None:
    table = _table(pictures, "path,label", [f"img/{n:03}.png,{n}" for n in range(12)])
    assert find_layout(str(table), pictures).classes == tuple(str(n) for n in range(12))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["img/000.png,a", "img/gone.png,b"], "line 3: no file img/gone.png; 1 of 2 images are missing"),
        (["img/000.png,a", "img/000.png,b"], "line 3: img/000.png was listed before with another label or split"),
        (["img/000.png,a", "img/001.png,a"], "a classifier needs at least two classes; found a"),
        ([], "has no rows below its header"),
    ],
)
def test_a_table_that_cannot_be_searched_is_refused_in_one_line(pictures: Path, lines, message: str) -> None:
    with pytest.raises(UserError) as raised:
        find_layout(str(_table(pictures, "path,label", lines)), pictures)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_lines_without_a_label_and_repeated_lines_are_counted(pictures: Path) -> None:
    lines = ["img/000.png,a", "img/001.png,b", "img/001.png,b", "img/002.png,"]
    layout = find_layout(str(_table(pictures, "path,label", lines)), pictures)
    assert len(layout.files) == 2
    assert {"1 row without a label, not used", "1 row left out: the same image and label again"} <= {*layout.notes}


def test_metadata_in_the_folder_is_read_as_imagefolder_does(pictures: Path) -> None:
    lines = [f"img/{n:03}.png,{'ab'[n % 2]}" for n in range(12)]
    _table(pictures, "file_name,label", lines, "metadata.csv")
    assert find_layout(str(pictures), pictures).classes == ("a", "b")


def test_metadata_of_each_part_is_read(make_folder) -> None:
    root = make_folder({"train": 8, "test": 4})
    for part, count in (("train", 8), ("test", 4)):
        _table(root / part, "file_name,label", [f"{n:03}.png,{'ab'[n % 2]}" for n in range(count)], "metadata.csv")
    layout = find_layout(str(root), root)
    assert _counts(layout) == {"train": 8, "test": 4}
    assert layout.files[0].name == "test/000.png"


def test_metadata_without_labels_leaves_the_class_folders(make_folder) -> None:
    root = make_folder({"a": 2, "b": 2})
    _table(root, "file_name,caption", ["a/000.png,a cat"], "metadata.csv")
    assert find_layout(str(root), root).classes == ("a", "b")


def test_parquet_files_as_the_hub_stores_them_are_searched(tmp_path: Path, cache_home: Path) -> None:
    write_parquet(tmp_path / "set/data", "train", 40)
    write_parquet(tmp_path / "set/data", "test", 10)
    spec = DataSpec(source=str(tmp_path / "set"))
    assert describe(spec, tmp_path / "home").images == {"train": 40, "val": 0, "test": 10}
    found = open_search_data(
        spec, image_size=None, image_fit="crop", data_home=tmp_path / "home", cache_home=cache_home
    )
    assert found.classes == ("cat", "dog")
    assert (len(found.train), len(found.val)) == (32, 8)
    assert found.train.image_shape == (12, 12, 3)


def test_parquet_without_names_of_classes_has_numbers(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set", "train", 10, names=False)
    assert find_layout(str(tmp_path / "set"), tmp_path / "home").classes == ("0", "1")


def test_a_damaged_parquet_file_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(UserError, match="cannot be read as a parquet file"):
        find_layout(str(tmp_path / "set"), tmp_path / "home")
    assert not list((tmp_path / "home").glob("parquet-*[!k]"))
