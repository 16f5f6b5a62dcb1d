"""The status of studies, in this process."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from data.errors import UserError
from search.status import main
from search.store.locks import supervising
from search.store.records import WorkerRecord, create_study, forget_worker, show_worker, update_study
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StageDefinition, StudyDefinition
from tests.search.conftest import open_stage

DEFINITION = StudyDefinition(
    stages=(StageDefinition(name="one", trials=5, epochs=2), StageDefinition(name="two", trials=4, epochs=2))
)
DATA = StudyData()


@pytest.fixture
def arguments(sqlite: Storage) -> list[str]:
    return ["--storage", sqlite.url]


def begin(storage: Storage) -> None:
    create_study(storage, "tiny", definition=DEFINITION, data=DATA)
    open_stage(storage, trials=5)


def test_a_study_is_shown_with_its_stages_and_its_champion(
    sqlite: Storage, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    begin(sqlite)
    update_study(sqlite, "tiny", state="done", champion={"model_uri": "models:/tiny/1", "val_accuracy": 0.9})
    main(arguments)
    out = capsys.readouterr().out
    for said in ("tiny", "done", "0/5", "two", "champion models:/tiny/1 0.9000"):
        assert said in out


def test_status_as_json_is_one_object(
    sqlite: Storage, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    begin(sqlite)
    main([*arguments, "--json", "--study", "tiny"])
    (study,) = json.loads(capsys.readouterr().out)["studies"]
    assert (study["study"], study["state"], study["champion"], study["looks"]) == ("tiny", "running", None, 0)
    assert study["stages"][0]["waiting"] == 5


def test_the_status_of_a_study_without_supervisor_names_the_command_that_continues_it(
    sqlite: Storage, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    begin(sqlite)
    with supervising(sqlite, "tiny"):
        main(arguments)
    assert "measuring" in capsys.readouterr().out
    main(arguments)
    assert "tiny · stopped; `sieve run` continues it" in capsys.readouterr().out


def test_watching_needs_a_terminal_and_is_not_one_object(arguments: list[str]) -> None:
    for options in ([], ["--json"]):
        with pytest.raises(UserError, match="--watch needs a terminal"):
            main([*arguments, "--watch", *options])


class Terminal:
    """`search.status --watch` on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "search.status", "--watch", *arguments]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self.shown = ""

    def read_until(self, text: str) -> None:
        while text not in self.shown:
            self._read()

    def read_to_the_end(self) -> int:
        try:
            while True:
                self._read()
        except OSError:  # The other end is closed.
            os.close(self._master)
        return self.process.wait(timeout=30)

    def _read(self) -> None:
        self.shown += os.read(self._master, 1 << 16).decode()


HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def test_watching_follows_a_study_until_it_is_done(sqlite: Storage, arguments: list[str]) -> None:
    begin(sqlite)
    terminal = Terminal(*arguments)
    terminal.read_until("0/5")
    update_study(sqlite, "tiny", state="done", champion={"model_uri": "models:/tiny/1", "val_accuracy": 0.9})
    assert terminal.read_to_the_end() == 0
    assert "champion models:/tiny/1 0.9000" in terminal.shown


def test_ctrl_c_ends_the_watching_and_leaves_the_terminal_clean(sqlite: Storage, arguments: list[str]) -> None:
    begin(sqlite)
    terminal = Terminal(*arguments)
    terminal.read_until("0/5")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.read_to_the_end() == 0
    assert terminal.shown.rfind(SHOW_CURSOR) > terminal.shown.rfind(HIDE_CURSOR) >= 0
    assert "Traceback" not in terminal.shown


def test_the_status_of_a_database_without_studies_reports_that(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(arguments)
    assert "no studies yet" in capsys.readouterr().out


def test_only_workers_that_were_heard_of_lately_are_shown(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    begin(storage)
    for name, seen_at in (("lively", time.time()), ("silent", time.time() - 3600), ("ended", time.time())):
        show_worker(storage, WorkerRecord(name=name, study="tiny", device="cpu", doing="waiting", seen_at=seen_at))
    forget_worker(storage, "ended")
    main(["--storage", storage.url, "--json"])
    (study,) = json.loads(capsys.readouterr().out)["studies"]
    assert [worker["name"] for worker in study["workers"]] == ["lively"]
