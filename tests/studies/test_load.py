from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from studies.load import STUDIES, load_study

FILE = """
from models.config import FlexCNNConfig
from studies.definition import Stage, Study, choice
STUDY = Study(name="mine", description="", config=FlexCNNConfig(), stages=(
    Stage(name="s", trials=1, epochs=1, space={"dropout": choice(0.0, 0.1)}),))
"""


def test_every_study_is_listed_under_its_own_name() -> None:
    assert {name: study.name for name, study in STUDIES.items()} == {name: name for name in STUDIES}


def test_an_unknown_name_is_answered_with_the_nearest_and_all_known_ones() -> None:
    with pytest.raises(UserError, match=r"no study 'quikstart': did you mean 'quickstart'\?.*partA"):
        load_study("quikstart")


def test_a_file_that_defines_a_study_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "my_study.py").write_text(FILE)
    assert load_study(str(tmp_path / "my_study.py")).name == "mine"


def test_a_file_that_raises_is_named_with_the_line_and_the_message(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nraise RuntimeError('boom')\n")
    with pytest.raises(UserError, match=r"broken.py, line 2: RuntimeError: boom"):
        load_study(str(tmp_path / "broken.py"))


def test_a_line_is_named_of_a_file_given_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nraise RuntimeError('boom')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^broken.py, line 2: RuntimeError: boom"):
        load_study("broken.py")


def test_a_file_that_ends_the_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(UserError, match=r"ends.py, line 1: SystemExit"):
        load_study(str(tmp_path / "ends.py"))


def test_a_file_with_a_misspelled_field_keeps_the_message_of_the_definition(tmp_path: Path) -> None:
    (tmp_path / "typo.py").write_text(FILE.replace('"dropout"', '"droput"'))
    with pytest.raises(UserError, match=r"typo.py: mine/s: unknown field 'droput'"):
        load_study(str(tmp_path / "typo.py"))


def test_a_misspelled_argument_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "typo.py").write_text("from studies.definition import Confirm\nConfirm(finalist=3)\n")
    with pytest.raises(UserError, match=r"typo.py, line 2: TypeError: .*'finalist'\. Did you mean 'finalists'\?$"):
        load_study(str(tmp_path / "typo.py"))


def test_a_file_that_is_no_python_is_named_once_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\ny = (\n")
    with pytest.raises(UserError, match=r"^\S*broken.py, line 2: SyntaxError: '\(' was never closed$"):
        load_study(str(tmp_path / "broken.py"))


def test_a_syntax_error_elsewhere_is_named_with_the_line_that_met_it(tmp_path: Path) -> None:
    (tmp_path / "evaluates.py").write_text("x = 1\neval('1 +')\n")
    with pytest.raises(UserError, match=r"evaluates.py, line 2: SyntaxError: invalid syntax"):
        load_study(str(tmp_path / "evaluates.py"))


def test_a_file_without_a_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UserError, match="defines no STUDY"):
        load_study(str(tmp_path / "empty.py"))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no study file"):
        load_study(str(tmp_path / "nowhere.py"))
