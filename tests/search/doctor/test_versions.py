"""What the doctor finds in databases of other versions; its advice is followed to see that it helps."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

import search.doctor.__main__ as doctor
from search import init
from search.cli import main_guard
from search.store.schema import NEWEST
from search.store.storage import Storage, find_schema


def examine(url: str, home: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, str]]:
    """The doctor's exit code and what it found about the database."""
    code = main_guard(lambda: doctor.main(["--home", str(home), "--storage", url, "--json", *options]))
    findings = json.loads(capsys.readouterr().out)["findings"]
    return code, next(finding for finding in findings if finding["about"] == "storage")


def execute(url: str, sql: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(sql))
    engine.dispose()


def test_an_old_database_is_reported_without_an_upgrade_and_the_advice_upgrades_it(
    old_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, finding = examine(old_url, tmp_path / "home", capsys)
    expected = (0, "warning") if old_url.startswith("sqlite") else (1, "broken")
    assert (code, finding["state"]) == expected
    assert f"(schema 0001, not {NEWEST})" in finding["text"]
    assert find_schema(old_url).revision == "0001"

    program, name, *arguments = shlex.split(finding["mend"])
    assert (program, name) == ("sieve", "init")
    assert main_guard(lambda: init.main([*arguments, "--home", str(tmp_path / "home")])) == 0

    capsys.readouterr()
    assert examine(old_url, tmp_path / "home", capsys)[1]["state"] == "ok"


def test_mending_upgrades_a_sqlite_file_and_leaves_postgres_to_init(
    old_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examine(old_url, tmp_path / "home", capsys, "--mend")
    assert find_schema(old_url).state == ("current" if old_url.startswith("sqlite") else "old")


def test_a_newer_database_needs_a_newer_sieve(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(storage.url, "UPDATE sieve_alembic_version SET version_num = '0999'")
    code, finding = examine(storage.url, tmp_path / "home", capsys)
    assert (code, finding["state"], finding["mend"]) == (1, "broken", "pip install --upgrade sieve-search")


def test_tables_of_an_older_optuna_are_upgraded_with_optunas_own_command(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(storage.url, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    code, finding = examine(storage.url, tmp_path / "home", capsys)
    assert (code, finding["state"]) == (1, "broken")
    assert str(finding["mend"]).startswith("run `optuna storage upgrade --storage ")


def test_tables_of_a_newer_optuna_need_a_newer_optuna(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(storage.url, "UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    assert examine(storage.url, tmp_path / "home", capsys)[1]["mend"] == "run `pip install --upgrade optuna`"


def test_a_column_that_something_else_removed_needs_a_backup_and_not_init(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(storage.url, "ALTER TABLE sieve_look DROP COLUMN reason")
    code, finding = examine(storage.url, tmp_path / "home", capsys)
    assert (code, finding["state"], finding["mend"]) == (1, "broken", "restore a backup of it")
    assert "sieve_look.reason" in finding["text"]
