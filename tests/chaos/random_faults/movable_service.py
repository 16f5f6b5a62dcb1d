"""A home whose commands are forks, and which can be moved; the calling process owns all that it starts."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
from sqlalchemy.engine import URL

from search import names
from tests.acceptance.service import Service
from tests.chaos.postgres_server import PostgresServer
from tests.chaos.random_faults.zygote import NAME, Forked


class MovableService(Service):
    """One home, one database, and what this process has started on them: there is one service at a time."""

    popen = Forked

    def __init__(self, folder: Path, empty_mlflow: Path, postgres: PostgresServer | None = None) -> None:
        """With `postgres`, the storage is that server's database, which has to be empty."""
        super().__init__(folder, None if postgres is None else postgres.url)
        self.postgres = postgres
        self.home.mkdir(parents=True)
        shutil.copy(empty_mlflow, self.home / names.TRACKING_FILE)
        self.killed = 0
        """The number of supervisors and workers that were killed."""

    def everything(self) -> list[psutil.Process]:
        """All living processes that were started here and those that they started, but for a server of Postgres."""
        found = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:
                    self._bury(process)
                elif process.pid != Forked.zygote.pid and "postgres" not in process.name():
                    found.append(process)
        return found

    def processes(self, module: str = "") -> list[psutil.Process]:
        """Living commands; those of one module, if given."""
        found = []
        for process in self.everything():
            with suppress(psutil.Error):
                name = process.name()
                if name != NAME and name.startswith(module[:15]):
                    found.append(process)
        return found

    def kill(self, process: psutil.Process) -> None:
        """kill -9."""
        with suppress(psutil.Error):
            is_command = process.name() != NAME
            process.kill()
            self.killed += is_command

    def end(self) -> None:
        """Kill whatever still runs."""
        for command in self._started:
            if command.process.poll() is None:
                command.kill()
                self.killed += 1
        while left := self.everything():
            for process in left:
                self.kill(process)
            psutil.wait_procs(left, timeout=10)

    def move(self) -> None:
        """Rename the home. Nothing may run on it."""
        there = self.home.with_name(f"{self.home.name}-moved")
        self.home.rename(there)
        self.home = there
        if self.postgres is None:
            self._storage_url = URL.create("sqlite", database=str(there / names.STORAGE_FILE)).render_as_string()

    def lock(self, database: Path, seconds: float) -> None:
        """Hold the write lock of a SQLite database for a while."""
        if not database.exists():
            return
        with suppress(sqlite3.Error), closing(sqlite3.connect(database, timeout=10)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            connection.rollback()

    def _bury(self, process: psutil.Process) -> None:
        """Take note of the end of an orphan: nobody else does. A command's end is its `Popen`'s business."""
        with suppress(ChildProcessError):
            if process.ppid() == os.getpid() and process.pid not in {one.process.pid for one in self._started}:
                os.waitpid(process.pid, os.WNOHANG)
