"""The report's section on problems of the images."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from data.files import write_csv, write_json
from search import names
from search.pictures.draw_all import PICTURE_FOLDER
from search.report.image_problems import CHECK_FOLDER, MAX_LINES, SUMMARY_FILE, read_image_problems
from search.store.study_data import StudyData
from search.verdict.held_out import FILE as LABEL_ERROR_FILE
from tests.search.report.conftest import CHECK_SUMMARY, settings_at


@pytest.fixture
def record() -> SimpleNamespace:
    return SimpleNamespace(name="mine", data=StudyData(notes=("2 images cannot be read",)))


def test_before_a_check_the_section_holds_the_notes_and_names_the_command(
    tmp_path: Path, record: SimpleNamespace
) -> None:
    found = read_image_problems(settings_at(tmp_path), record)
    assert found.findings == ("2 images cannot be read",)
    assert found.lists == () and found.command == f"sieve check-data --study mine --home {tmp_path}"


def test_after_a_check_its_findings_and_lists_are_shown(tmp_path: Path, record: SimpleNamespace) -> None:
    folder = names.study_folder(tmp_path, "mine") / CHECK_FOLDER
    write_json(folder / SUMMARY_FILE, CHECK_SUMMARY)
    (folder / "near-duplicates.csv").write_text("cluster,image,part\n" + "0,a.png,train\n" * (MAX_LINES + 7))
    (folder / "outliers.csv").write_text("name,kind\n")
    found = read_image_problems(settings_at(tmp_path), record)
    assert found.findings[1:] == (
        "5 images in 2 clusters of near-duplicates",
        "1 image is unusually dark",
        "few training images: ants (3)",
        "4 of 1,200 labels are probably wrong",
    )
    (listed,) = found.lists  # A list without lines is not offered.
    assert listed.title == "near-duplicates" and listed.lines == MAX_LINES + 7 and listed.is_cut
    content = base64.b64decode(listed.url.partition("base64,")[2]).decode()
    assert content.count("\n") == MAX_LINES + 1 and content.startswith("cluster,image,part\n0,a.png")
    assert found.command is None


@pytest.mark.parametrize("newer", [PICTURE_FOLDER, CHECK_FOLDER])
def test_of_two_lists_of_label_errors_the_newer_is_offered(tmp_path: Path, record: SimpleNamespace, newer: str) -> None:
    for age_s, part in enumerate((newer, *({PICTURE_FOLDER, CHECK_FOLDER} - {newer}))):
        path = names.study_folder(tmp_path, "mine") / part / LABEL_ERROR_FILE
        write_csv(path, ("image",), [("a.png",)])
        os.utime(path, (1000 - age_s, 1000 - age_s))
    (listed,) = read_image_problems(settings_at(tmp_path), record).lists
    assert listed.path.parent.name == newer
    listed.path.unlink()
    (listed,) = read_image_problems(settings_at(tmp_path), record).lists
    assert listed.path.parent.name != newer
