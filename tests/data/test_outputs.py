from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from data.outputs import check_output_file, output_folder


def _write(folder: Path, **files: str) -> None:
    with output_folder(folder) as part:
        for name, text in files.items():
            (part / name).write_text(text)


def _tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["", "..", "sub"])
def test_a_folder_that_holds_files_of_somebody_else_is_refused_and_stays_as_it_was(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.txt").write_text("x")
    (tmp_path / "yours.txt").write_text("y")
    monkeypatch.chdir(tmp_path if name == "sub" else tmp_path / "sub")
    before = _tree(tmp_path)
    with pytest.raises(UserError, match="holds files that Sieve did not write"):
        _write(Path(name), model="new")
    assert _tree(tmp_path) == before


def test_an_empty_folder_and_a_new_one_are_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/below"):
        _write(tmp_path / name, model="1")
        assert (tmp_path / name / "model").read_text() == "1"


def test_a_second_call_replaces_its_own_files_and_leaves_others_alone(tmp_path: Path) -> None:
    _write(tmp_path / "out", model="1", old="1")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    _write(tmp_path / "out", model="2")
    files = _tree(tmp_path / "out")
    assert files["model"] == "2" and files["notes.txt"] == "mine" and "old" not in files


def test_a_file_that_was_changed_since_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    _write(tmp_path / "out", model="1", old="1")
    (tmp_path / "out" / "old").write_text("edited")
    _write(tmp_path / "out", model="2")
    assert (tmp_path / "out" / "old").read_text() == "edited"
    (tmp_path / "out" / "model").write_text("edited")
    with pytest.raises(UserError, match="was added or changed"):
        _write(tmp_path / "out", model="3", more="3")
    assert (tmp_path / "out" / "model").read_text() == "edited" and not (tmp_path / "out" / "more").exists()


def test_a_block_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "a" / "b") as part:
        (part / "half").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_only_a_file_with_the_marker_is_written_over(tmp_path: Path) -> None:
    report, thesis = tmp_path / "report.html", tmp_path / "thesis.html"
    report.write_text("<head>made by us</head>")
    thesis.write_text("<head>mine</head>")
    check_output_file(report, b"made by us")
    check_output_file(tmp_path / "new.html", b"made by us")
    for taken in (thesis, tmp_path):
        with pytest.raises(UserError, match=r"choose another|name of a file"):
            check_output_file(taken, b"made by us")
