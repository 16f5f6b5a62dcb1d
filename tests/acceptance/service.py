"""Sieve's commands as real processes on a home and a database of their own, and what they wrote there.

Nothing here goes through Sieve's own code: commands are typed as a user types them, tables are read with plain SQL.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psutil
from sqlalchemy import Engine, Row, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
STUDY_FILES = Path(__file__).parent / "study_files"
FAULTS = Path(__file__).parent / "faults"
"""Folders with a `sitecustomize.py`, which every Python process on their path imports when it starts."""
COMMAND_TIMEOUT_S = 240.0
POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout; fails if anything else is there."""
        assert self.code == 0, self.err
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


class Running:
    """A command that was started; its output goes to files, so that it never waits for a reader."""

    def __init__(
        self,
        command: list[str],
        output: Path,
        environment: dict[str, str],
        *,
        user: str | None = None,
        popen: type[subprocess.Popen[bytes]] = subprocess.Popen,
    ) -> None:
        self._out, self._err = output.with_suffix(".out"), output.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = popen(
                command,
                cwd=output.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                user=user,
            )

    @property
    def err(self) -> str:
        return self._err.read_text()

    def interrupt(self) -> None:
        """Ctrl-C, for this process alone."""
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait(COMMAND_TIMEOUT_S)

    def wait(self, timeout_s: float = COMMAND_TIMEOUT_S) -> Finished:
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s:g} s; it said: {self.err}") from None
        return Finished(code=code, out=self._out.read_text(), err=self.err)


class Service:
    """One home, one database, and whatever runs on them."""

    popen: type[subprocess.Popen[bytes]] = subprocess.Popen
    """Starts the commands."""

    def __init__(self, folder: Path, storage_url: str | None = None) -> None:
        self.home = folder / "home"
        self._folder = folder
        self._storage_url = storage_url or URL.create("sqlite", database=f"{self.home}/sieve.db").render_as_string()
        self._started: list[Running] = []

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that lead a command to this home and database."""
        return {"SIEVE_HOME": str(self.home), "SIEVE_STORAGE": self._storage_url}

    def start(self, module: str, *arguments: str, fault: str | None = None) -> Running:
        """Start `python -m MODULE ARGUMENTS...` with this home and database, and a fault in all its processes."""
        path = [str(ROOT)] if fault is None else [str(FAULTS / fault), str(ROOT)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("SIEVE_", "MLFLOW_"))}
        environment |= self.variables
        environment |= {
            "PYTHONPATH": os.pathsep.join(path),
            "OMP_WAIT_POLICY": "PASSIVE",  # Threads that spin while they wait slow down the searches beside them.
        }
        output = self._folder / f"{len(self._started) + 1}-{module}"
        command = [sys.executable, "-m", module, *arguments]
        self._started.append(Running(command, output, environment, popen=self.popen))
        return self._started[-1]

    def run(self, module: str, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Finished:
        """The same, to its end."""
        return self.start(module, *arguments).wait(timeout_s)

    def end_slowness(self) -> None:
        """From now on epochs with the fault `slow_epochs` are as fast as any."""
        (self.home / "at-full-speed").touch()

    def processes(self, module: str = "") -> list[psutil.Process]:
        """Living processes of this home, workers without a supervisor among them; those of one command, if given."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get("SIEVE_HOME") == str(self.home)
                if is_ours and module in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue  # It ended meanwhile, or belongs to somebody else.
        return found

    def end(self) -> None:
        """Kill whatever still runs, one by one."""
        for command in self._started:
            command.kill()
        while left := self.processes():
            for process in left:
                process.kill()
            psutil.wait_procs(left, timeout=10)

    def query(self, sql: str, **parameters: object) -> list[Row[Any]]:
        """Rows of a query; none while the tables are not there yet."""
        if self._storage_url.startswith("sqlite") and not (self.home / "sieve.db").exists():
            return []
        try:
            with _engine(self._storage_url).connect() as connection:
                return list(connection.execute(text(sql), parameters))
        except DBAPIError:
            return []

    def execute(self, sql: str) -> None:
        """Change the tables behind everybody's back."""
        with _engine(self._storage_url).begin() as connection:
            connection.execute(text(sql))

    def trials(self, optuna_study: str = "%") -> list[Row[Any]]:
        """`study_name, number, state, value, trial_id` of every trial, in order of stages and numbers."""
        return self.query(
            "SELECT s.study_name, t.number, t.state, v.value, t.trial_id FROM trials t"
            " JOIN studies s ON s.study_id = t.study_id LEFT JOIN trial_values v ON v.trial_id = t.trial_id"
            " WHERE s.study_name LIKE :name ORDER BY s.study_name, t.number",
            name=optuna_study,
        )

    def states(self, optuna_study: str) -> Counter[str]:
        """How many trials of a stage are in each state."""
        return Counter(trial.state for trial in self.trials(optuna_study))

    def parameters(self, optuna_study: str = "%") -> list[tuple[object, ...]]:
        """`study_name, number, name, value` of every parameter of every trial."""
        rows = self.query(
            "SELECT s.study_name, t.number, p.param_name, p.param_value FROM trial_params p"
            " JOIN trials t ON t.trial_id = p.trial_id JOIN studies s ON s.study_id = t.study_id"
            " WHERE s.study_name LIKE :name ORDER BY s.study_name, t.number, p.param_name",
            name=optuna_study,
        )
        return [tuple(row) for row in rows]

    def attribute(self, trial_id: int, key: str) -> Any:
        """A user attribute of a trial; None if it has none of that name."""
        rows = self.query(
            "SELECT value_json FROM trial_user_attributes WHERE trial_id = :id AND key = :key", id=trial_id, key=key
        )
        return json.loads(rows[0][0]) if rows else None

    def epochs(self, trial_id: int) -> list[int]:
        """The epochs on record of a trial, in the order in which they were written."""
        rows = self.query("SELECT epoch FROM sieve_epoch WHERE trial_id = :id ORDER BY id", id=trial_id)
        return [row.epoch for row in rows]

    def result_table(self) -> list[tuple[object, ...]]:
        """What two runs of the same search have in common: `study_name, number, state, value` of every trial."""
        return [(trial.study_name, trial.number, trial.state, trial.value) for trial in self.trials()]

    def running_trial(self, optuna_study: str, *, epochs: int = 1) -> Row[Any] | None:
        """A trial of a stage that runs and has so many epochs behind it."""
        running = [trial for trial in self.trials(optuna_study) if trial.state == "RUNNING"]
        return next((trial for trial in running if len(self.epochs(trial.trial_id)) >= epochs), None)


@cache
def _engine(url: str) -> Engine:
    """An engine that keeps no connection open. Making it takes longer than a query."""
    return create_engine(url, poolclass=NullPool)


def wait_for(condition: Callable[[], T | None], what: str, *, timeout_s: float = 60.0) -> T:
    """The first true value of a condition that is asked again and again."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(POLL_S)
    return value
