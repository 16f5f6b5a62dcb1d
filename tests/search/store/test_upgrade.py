"""Databases of other versions: older ones are upgraded, newer ones are refused, and what a person has is kept."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from data.errors import UserError
from search import init, status
from search.cli import main_guard
from search.store.records import read_stages, read_study
from search.store.schema import NEWEST, REVISIONS
from search.store.seal import looks, open_look
from search.store.storage import Storage, find_schema, open_storage
from search.store.tables import metadata, schema_version
from search.store.upgrade import MIGRATIONS, back_up_sqlite
from tests.forkserver import FORKS
from tests.old_databases import restore_0_1_0


def _contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, by table."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = {
            table: sorted(map(tuple, connection.execute(text(f'SELECT * FROM "{table}"'))), key=repr)
            for table in inspect(connection).get_table_names()
        }
    engine.dispose()
    return rows


def _write_revision(url: str, revision: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(schema_version.update().values(version_num=revision))
    engine.dispose()


@pytest.fixture
def sqlite_home(tmp_path: Path) -> Path:
    """A home with the SQLite file of 0.1.0."""
    restore_0_1_0(f"sqlite:///{tmp_path / 'sieve.db'}")
    return tmp_path


def test_the_migrations_make_the_tables_of_this_version(old_url: str) -> None:
    storage = open_storage(old_url, create=False, upgrade=True)
    options = {
        "version_table": schema_version.name,
        "include_name": lambda name, kind, parents: (
            kind != "table" or name in metadata.tables
        ),  # Optuna's are not ours.
    }
    with storage.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    storage.close()


def test_every_migration_is_listed_in_order() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    assert tuple(script.revision for script in scripts) == tuple(reversed(REVISIONS))


def test_a_new_database_has_the_newest_schema(storage: Storage) -> None:
    assert find_schema(storage.url).revision == NEWEST


def test_an_upgrade_keeps_every_row(old_url: str) -> None:
    before = _contents(old_url)
    open_storage(old_url, create=False, upgrade=True).close()
    after = _contents(old_url)
    assert after.pop("sieve_alembic_version") == [(NEWEST,)]
    assert after == before  # 0.1.0's study has no look yet, the only table that gained a column.


def test_an_upgraded_study_can_be_read_and_its_test_set_opened(old_url: str) -> None:
    storage = open_storage(old_url, create=False, upgrade=True)
    study = read_study(storage, "halfway")
    assert study is not None and study.state == "running"
    assert [stage.name for stage in read_stages(storage, "halfway")] == ["wide", "near"]
    assert open_look(storage, "halfway", by="ann@lab", model_uri="models:/halfway/1", reason=None) == 1
    assert [look.by for look in looks(storage, "halfway")] == ["ann@lab"]
    storage.close()


def test_a_sqlite_file_is_upgraded_by_the_next_command_after_a_backup(
    sqlite_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _contents(f"sqlite:///{sqlite_home / 'sieve.db'}")
    assert main_guard(lambda: status.main(["--home", str(sqlite_home), "--json"])) == 0
    backup = sqlite_home / f"sieve.db.before-{version('sieve-search')}"
    assert f"upgraded from schema 0001 to {NEWEST}; {backup} is the file as it was before" in capsys.readouterr().err
    assert _contents(f"sqlite:///{backup}") == before
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert find_schema(f"sqlite:///{backup}").revision == "0001"
    assert not list(sqlite_home.glob("*.part"))


def test_a_backup_never_replaces_an_older_one(sqlite_home: Path) -> None:
    file = sqlite_home / "sieve.db"
    first = back_up_sqlite(file)
    kept = first.read_bytes()
    open_storage(f"sqlite:///{file}", create=False).close()
    assert first.read_bytes() == kept
    assert sorted(path.name for path in sqlite_home.glob("*.before-*")) == [first.name, f"{first.name}.2"]


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(old_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _contents(old_url)

    def fail(connection: object) -> None:
        connection.execute(text("ALTER TABLE sieve_look ADD COLUMN token VARCHAR(40)"))  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr("search.store.upgrade.run_migrations", fail)
    with pytest.raises(KeyboardInterrupt):
        open_storage(old_url, create=False, upgrade=True)
    monkeypatch.undo()
    assert _contents(old_url) == before
    open_storage(old_url, create=False, upgrade=True).close()
    assert find_schema(old_url).state == "current"


def test_an_old_postgres_database_waits_for_init(
    postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restore_0_1_0(postgres_url)
    before = _contents(postgres_url)
    options = ["--home", str(tmp_path), "--storage", postgres_url]
    assert main_guard(lambda: status.main(options)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "older version of Sieve" in line and "sieve init --storage 'postgresql" in line
    assert _contents(postgres_url) == before
    assert main_guard(lambda: init.main(options)) == 0
    assert main_guard(lambda: status.main(options)) == 0


@pytest.mark.parametrize("command", [status, init])
def test_a_database_of_a_newer_version_is_refused_in_one_line_and_not_touched(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Any
) -> None:
    _write_revision(storage.url, "0999")
    before = _contents(storage.url)
    assert main_guard(lambda: command.main(["--home", str(tmp_path / "other"), "--storage", storage.url])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "newer version of Sieve (schema 0999" in line and "sieve-search" in line
    assert _contents(storage.url) == before and not (tmp_path / "other").exists()


def _open(url: str) -> str | None:
    open_storage(url, create=True, upgrade=True).close()
    return find_schema(url).revision


def test_of_several_processes_that_open_an_old_database_one_upgrades_it(old_url: str, tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=FORKS) as pool:
        assert list(pool.map(_open, [old_url] * 4)) == [NEWEST] * 4
    assert len(list(tmp_path.rglob("*.before-*"))) == (1 if old_url.startswith("sqlite") else 0)


def test_several_processes_can_create_one_database(storage_url: str) -> None:
    with ProcessPoolExecutor(4, mp_context=FORKS) as pool:
        assert list(pool.map(_open, [storage_url] * 4)) == [NEWEST] * 4


def test_a_folder_that_cannot_take_the_backup_is_one_line(
    sqlite_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(file: Path) -> Path:
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr("search.store.upgrade.back_up_sqlite", full)
    assert main_guard(lambda: status.main(["--home", str(sqlite_home)])) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert find_schema(f"sqlite:///{sqlite_home / 'sieve.db'}").state == "old"


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sieve.db").write_text("not a database, but long enough to be taken for one by a careless reader")
    with pytest.raises(UserError, match="does not answer: file is not a database"):
        open_storage(f"sqlite:///{tmp_path / 'sieve.db'}", create=True)
