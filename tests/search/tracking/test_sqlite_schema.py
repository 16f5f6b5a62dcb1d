"""MLflow's SQLite database is created whole or not at all."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from data.errors import UserError
from search.tracking.client import answering, connect
from search.urls import sqlite_url

CONNECT = "import sys; from search.tracking.client import connect; connect(sys.argv[1])"


def test_a_process_killed_while_it_creates_the_tables_leaves_a_database_that_the_next_one_creates(
    tmp_path: Path,
) -> None:
    database = tmp_path / "mlflow.db"
    creator = subprocess.Popen([sys.executable, "-c", CONNECT, f"sqlite:///{database}"])
    try:
        while not any(part.stat().st_size > 0 for part in tmp_path.glob("mlflow.db.*.part")):
            assert creator.poll() is None, "the tables were never seen half created"
            time.sleep(0.01)
    finally:
        creator.kill()
        creator.wait()
    assert not database.exists()

    client = connect(f"sqlite:///{database}")

    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    assert {path.name for path in tmp_path.iterdir()} <= {
        "mlflow.db",
        "mlflow.db.lock",
        "mlflow.db-wal",
        "mlflow.db-shm",
    }


def test_after_a_failure_the_same_process_creates_the_tables_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*paths: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    database = tmp_path / "mlflow.db"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            connect(f"sqlite:///{database}")

    connect(f"sqlite:///{database}")

    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT name FROM experiments").fetchall() == [("Default",)]


def test_a_full_disk_under_an_engine_of_mlflow_is_one_line_with_the_file(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    url = f"sqlite:///{database}"
    connect(url)

    def allow_no_more_pages(connection: sqlite3.Connection, *_: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")

    event.listen(Pool, "checkout", allow_no_more_pages)
    try:
        with pytest.raises(UserError) as refused, answering(url) as client:
            for number in range(20):
                client.create_experiment(f"{number}", tags={"note": "x" * 4_000})
    finally:
        event.remove(Pool, "checkout", allow_no_more_pages)
    assert f": {database}: database or disk is full; free some space" in str(refused.value)


def test_mlflow_makes_no_folder_that_is_named_like_the_code_of_a_character(tmp_path: Path) -> None:
    home = tmp_path / "50 %20?" / "home"
    connect(sqlite_url(home / "mlflow.db"))
    assert [path.name for path in tmp_path.iterdir()] == ["50 %20?"] and (home / "mlflow.db").exists()
