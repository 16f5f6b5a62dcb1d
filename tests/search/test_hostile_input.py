"""Every option of every command with values that nobody expects: accepted, or one line and exit code 2."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

import search.run
from search import names
from search.cli import main_guard
from search.main import COMMANDS, module_of
from search.stage.describe import describe_study
from search.store.records import create_study
from search.store.storage import open_storage
from search.store.study_data import StudyData
from search.urls import sqlite_url
from studies.quickstart import QUICKSTART

SERVES = {"dashboard", "watch"}
"""Commands that would not end if their arguments were right."""
CREATES = {"init"}
"""A command that would make a database wherever a hostile URL points."""
EXAMPLES = int(os.environ.get("SIEVE_HOSTILE_EXAMPLES", 25))
"""Command lines for each command; 300 were tried once, in three minutes."""
NUMBERS = ("0", "-1", "1", "2.5", "nan", "inf", "-inf", "1e999", "9" * 40, "²", "٣", "1_0", "0x10", " 3", "1e-400")
TEXTS = (
    *(
        "",
        " ",
        "-",
        "--",
        "=",
        "a=b=c",
        "=b",
        "dropout=",
        "dropout=nan",
        "image_size=²",
        "model=None",
        "batch_size=1e3",
    ),
    *(
        "[red]",
        "[/]",
        "{0}",
        "%s",
        "%",
        "%20",
        "?x=1",
        "#",
        "a\nb",
        "a\tb",
        "a\x07b",
        "\x7f",
        "'",
        '"',
        "`id`",
        "$(id)",
    ),
    *("é", "ü" * 300, "x" * 5000, "\U0001f600", "\u202e", "e\u0301", "caf\udce9", "\ud800", "\0", "a\0b", "nul", "."),
    *(
        "none.py",
        "photos",
        "photos/x",
        "file.txt",
        "file.txt/below",
        "~nobody/x",
        "models:/a/b",
        "x/1",
        "confirm-0",
        "x-²",
    ),
    *("sqlite:", "sqlite://", "sqlite:///", "sqlite:////", "sqlite:///a?b", "sqlite:///:memory:", "sqlite:///file.txt"),
    *("postgresql://", "postgresql://[", "postgresql://h:port/d", "mysql://h/d", "oracle://h", "://", "a://b", "file:"),
    *(
        "http:",
        "http://",
        "http://[",
        "http://h:99999",
        "https://?",
        "file://",
        "file:///nowhere",
        "s3:",
        "s3://",
        "1:2",
    ),
    *(
        "10m",
        "2h",
        "-5s",
        "1e9d",
        "999999999999d",
        "20G",
        "-1G",
        "1e999G",
        "cuda:-1",
        "cuda:²",
        "cpu,cpu",
        "cuda:0,",
        ",",
    ),
)
HARMLESS = {"study": ["x", "quickstart"], "home": ["home"], "data": ["photos", "digits"]}
hostile = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.text(max_size=12))


class Accepted(BaseException):
    """The command's arguments passed every check."""


def _accept(*arguments: object, **keywords: object) -> Any:
    raise Accepted


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with images, a file, and a home whose study has no champion yet."""
    folder = tmp_path_factory.mktemp("hostile")
    for label, kind in enumerate(("a", "b")):
        (folder / "photos" / kind).mkdir(parents=True)
        for number in range(5):
            Image.new("L", (8, 8), 100 * label + number).save(folder / "photos" / kind / f"{number}.png")
    (folder / "file.txt").write_text("mine\n" * 100)
    storage = open_storage(sqlite_url(folder / "home" / names.STORAGE_FILE), create=True)
    create_study(storage, "x", definition=describe_study(QUICKSTART), data=StudyData())
    storage.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("SIEVE_")]:
            patch.delenv(name)
        patch.setattr(search.run, "run", _accept)
        patch.setattr(search.run, "_plan", _accept)
        patch.setattr("torch.hub.download_url_to_file", _accept)
        yield folder


@st.composite
def command_lines(draw: st.DrawFn, module: ModuleType) -> list[str]:
    """Arguments for a command: its required ones, and up to three others, each hostile or harmless."""
    options = [
        action
        for action in module.build_parser()._actions
        if not isinstance(action, argparse._HelpAction) and action.dest not in ("launcher", "watch", "supervisor_pid")
    ]
    chosen = [action for action in options if action.required]
    chosen += draw(st.lists(st.sampled_from([action for action in options if action not in chosen]), max_size=3))
    line: list[str] = []
    for action in chosen:
        if action.nargs == 0:
            line.append(action.option_strings[0])
            continue
        harmless = {"study": ["x", "quickstart"], "home": ["home"], "data": ["photos", "digits"]}.get(
            action.dest, ["1"]
        )
        value = draw(st.one_of(st.sampled_from(harmless), hostile))
        line += [f"{action.option_strings[0]}={value}"] if action.option_strings else [value]
    return line


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SERVES | CREATES])
def test_a_command_answers_hostile_arguments_with_one_line(name: str, places: Path) -> None:
    module = module_of(name)
    home = [] if name == "complexity" else ["--home=home"]

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(command_lines(module))
    @example(["--study=--"])
    @example(["--study=caf\udce9"])
    @example(["--home=a\nb"])
    @example(["--study=\ud800"])
    @example(["--study=x", "--storage=sqlite:////"])
    @example(["--study=x", "--tracking=sqlite:////"])
    def check(line: list[str]) -> None:
        out, err = StringIO(), StringIO()
        returned: list[int | None] = []  # One command returns its exit code.
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = main_guard(lambda: returned.append(module.main([*home, *line]))) or returned[0] or 0
        except Accepted:
            return
        errors = [text for text in err.getvalue().splitlines() if text.startswith("error:")]
        assert code == 0 or (code in (1, 2) and len(errors) == 1), (line, code, err.getvalue())
        assert code != 1 or name in ("doctor", "sync"), (line, err.getvalue())
        if code == 2:
            assert err.getvalue().count("\n") == 1 and out.getvalue() == "", (line, err.getvalue())

    check()
