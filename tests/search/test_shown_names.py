"""Names are shown as they are, and a printed command works when it is pasted."""

from __future__ import annotations

import io
import json
import shlex
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

import search.status as status
from search.cli import main_guard
from search.command_line import command_line
from search.main import COMMANDS
from search.settings import Settings, from_arguments
from search.store.records import create_study
from search.store.storage import open_storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.supervisor.plan import print_plan
from search.terminal import open_console, print_json
from tests.search.supervisor.test_plan import COSTS, STUDY
from tests.search.verdict.test_result import RESULT

ODD = "[final] :cat: [bold]"


def settings(home: Path | None, **environment: str) -> Settings:
    place = None if home is None else str(home)
    return from_arguments(Namespace(home=place, storage=None, tracking=None, artifacts=None), environment)


def test_a_study_with_brackets_in_its_name_is_shown_in_its_plan() -> None:
    file = io.StringIO()
    stages = tuple(replace(stage, name=f"{stage.name}{ODD}") for stage in STUDY.stages)
    print_plan(replace(STUDY, name=ODD, stages=stages), COSTS, open_console(file, width=200))
    assert f"{ODD}: " in file.getvalue()
    assert f"1 {stages[0].name}  " in file.getvalue()


def test_a_study_with_brackets_in_its_name_is_shown_in_its_result() -> None:
    from search.verdict.result import print_result

    file = io.StringIO()
    print_result(replace(RESULT, study=ODD, test=None), open_console(file, width=200), f"sieve evaluate {ODD}")
    assert f"{ODD} in " in file.getvalue()
    assert f"open it once with sieve evaluate {ODD}" in file.getvalue()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a study whose name no terminal of few characters can print."""
    home = tmp_path / "a 'home'"
    storage = open_storage(settings(home).storage_url, create=True)
    create_study(storage, f"größe {ODD}", definition=StudyDefinition(), data=StudyData())
    storage.close()
    return home


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_the_status_is_printed_on_any_terminal(home: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    assert main_guard(lambda: status.main(["--home", str(home)])) == 0
    screen.flush()
    shown = screen.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert ODD in shown
    assert "größe" in shown or (encoding == "ascii" and r"gr\xf6\xdfe" in shown)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_on_any_terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    value = {"name": "größe \U0001f600", "path": "caf\udce9.png"}
    assert main_guard(lambda: print_json(value)) == 0
    screen.flush()
    assert json.loads(screen.buffer.getvalue().decode(encoding)) == value  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["my study", "it's; rm -rf", "$HOME `id`", "ü?*#"])
def test_a_printed_command_names_the_study_and_the_place_as_a_shell_reads_them(name: str, tmp_path: Path) -> None:
    home = tmp_path / name
    words = shlex.split(command_line(settings(home), "evaluate", "--study", name))
    assert words == ["sieve", "evaluate", "--study", name, "--home", str(home)]
    parsed = __import__(COMMANDS["evaluate"].module, fromlist=["build_parser"]).build_parser().parse_args(words[2:])
    assert from_arguments(parsed, {}) == settings(home)


def test_the_default_place_needs_no_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIEVE_HOME", raising=False)
    assert command_line(settings(None), "sync") == "sieve sync"
    monkeypatch.setenv("SIEVE_HOME", str(tmp_path / "there"))
    assert command_line(settings(tmp_path / "there"), "sync") == "sieve sync"


def test_a_password_is_not_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = replace(settings(None), storage_url="postgresql+psycopg://ann:swordfish@db/sieve")
    assert "swordfish" not in command_line(elsewhere, "sync")
