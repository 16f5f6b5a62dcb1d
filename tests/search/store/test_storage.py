from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from data.errors import SieveError, UserError
from search.store.engines import sqlite_file
from search.store.locks import supervising
from search.store.processes import process_name
from search.store.records import EpochRecord, add_epochs, create_study, read_epochs, read_study
from search.store.storage import Storage, open_storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.store.tables import locks
from search.urls import normalise_storage_url
from tests.forkserver import FORKS


def test_a_database_that_does_not_answer_is_one_line_and_no_password() -> None:
    url = normalise_storage_url("postgresql://somebody:secret@127.0.0.1:1/none")
    with pytest.raises(UserError, match="does not answer") as error:
        open_storage(url, create=True)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_a_missing_sqlite_file_is_not_created_by_reading(tmp_path: Path) -> None:
    path = tmp_path / "home" / "sieve.db"
    with pytest.raises(UserError, match="sieve run"):
        open_storage(f"sqlite:///{path}", create=False)
    assert not path.parent.exists()


def test_a_database_without_our_tables_holds_no_studies(storage_url: str, tmp_path: Path) -> None:
    if storage_url.startswith("sqlite"):
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "sieve.db").touch()
    with pytest.raises(UserError, match="no studies"):
        open_storage(storage_url, create=False)


def test_sqlite_takes_the_write_lock_when_a_transaction_begins(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/sieve.db", create=True)
    with storage.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
    with storage.engine.begin(), storage.engine.connect() as other:
        other.connection.driver_connection.execute("PRAGMA busy_timeout=50")  # type: ignore[union-attr]
        with pytest.raises(OperationalError, match="locked"):
            other.execute(text("SELECT 1"))
    storage.close()


def _create(url: str) -> bool:
    storage = open_storage(url, create=True)
    try:
        return create_study(storage, "mine", definition=StudyDefinition(), data=StudyData())
    finally:
        storage.close()


def test_of_two_processes_that_start_a_study_one_pins_it(storage: Storage) -> None:
    with ProcessPoolExecutor(2, mp_context=FORKS) as pool:
        assert sorted(pool.map(_create, [storage.url] * 2)) == [False, True]


def test_a_repeated_epoch_keeps_its_first_record(storage: Storage) -> None:
    for accuracy in (0.5, 0.6):
        add_epochs(storage, [EpochRecord(trial_id=1, epoch=1, metrics={"val_accuracy": accuracy}, value=accuracy)])
    assert [row.metrics for row in read_epochs(storage, 1)] == [{"val_accuracy": 0.5}]


def test_a_study_that_does_not_exist_is_none(storage: Storage) -> None:
    assert read_study(storage, "nothing") is None


def test_a_second_supervisor_gets_an_error_that_names_the_first(storage: Storage) -> None:
    with supervising(storage, "mine"), pytest.raises(SieveError, match="already being run by process"):
        supervising(storage, "mine").__enter__()
    with supervising(storage, "mine"):
        pass  # The lock was released.


def test_the_lock_of_a_dead_supervisor_is_taken_over(storage: Storage) -> None:
    host = process_name().split(":")[0]
    with storage.engine.begin() as connection:
        row = {"name": "supervisor:mine", "owner": f"{host}:1:1", "token": "old", "expires_at": 4e9}
        connection.execute(locks.insert().values(**row))
    with supervising(storage, "mine"):
        pass


def test_the_database_of_mlflow_is_refused_and_stays_as_it_is(storage_url: str) -> None:
    if storage_url.startswith("sqlite"):
        sqlite_file(storage_url).parent.mkdir(parents=True)
    engine = create_engine(storage_url)
    with engine.begin() as connection:
        for table in ("alembic_version", "experiments"):
            connection.execute(text(f"CREATE TABLE {table} (x INTEGER)"))
    with pytest.raises(UserError, match="contains MLflow's tables"):
        open_storage(storage_url, create=True)
    assert sorted(inspect(engine).get_table_names()) == ["alembic_version", "experiments"]
    engine.dispose()
