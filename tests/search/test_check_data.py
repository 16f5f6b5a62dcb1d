"""The lists of `sieve check-data` and the folder that they are written to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.check_data.__main__ import main
from search.cli import main_guard


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An image folder with two classes."""
    draw = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "photos"


def check(photos: Path, output: Path) -> int:
    arguments = ["--data", str(photos), "--home", str(photos.parent / "home"), "--output", str(output)]
    return main_guard(lambda: main(arguments))


def test_lists_replace_their_own_earlier_version_and_no_file_of_anybody_else(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "lists"
    assert check(photos, output) == 0
    assert len((output / "outliers.csv").read_text().splitlines()) == 1  # The heading alone.
    (output / "notes.txt").write_text("mine")
    for number in range(5):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(photos / "a" / f"dark-{number}.png")
    assert check(photos, output) == 0
    assert "dark-" in (output / "outliers.csv").read_text()
    assert (output / "notes.txt").read_text() == "mine"


def test_a_folder_with_files_of_somebody_else_is_refused_in_one_line_and_stays_as_it_was(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "results"
    output.mkdir()
    (output / "outliers.csv").write_text("mine")
    assert check(photos, output) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds files that Sieve did not write, such as outliers.csv" in line
    assert [path.name for path in output.iterdir()] == ["outliers.csv"]
    assert (output / "outliers.csv").read_text() == "mine"


def test_a_list_that_somebody_edited_is_not_replaced(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "lists"
    assert check(photos, output) == 0
    (output / "outliers.csv").write_text("edited")
    assert check(photos, output) == 2
    assert "outliers.csv" in capsys.readouterr().err
    assert (output / "outliers.csv").read_text() == "edited"
