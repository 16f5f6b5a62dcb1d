"""Checks of the database: its schema, its settings, trials without a worker, and looks without a result."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Row, inspect, select, text

from search.doctor.finding import Finding, broken, command, ok, warning
from search.stage.snapshot import stage_trials
from search.store.engines import is_sqlite, sqlite_file
from search.store.network_drive import network_drive
from search.store.optuna_private import database_id
from search.store.processes import is_dead
from search.store.records import StageRecord, read_stages, study_names
from search.store.schema import NEWEST
from search.store.seal import looks
from search.store.storage import Storage, find_schema
from search.store.tables import leases, metadata
from search.urls import redact

STORAGE, TRIALS, SEAL = "storage", "trials", "seal"


def check_version(url: str) -> Finding | None:
    """Whether this version of Sieve can examine the database at `url`; None if it can. Writes nothing.

    Raises UserError where the database does not answer.
    """
    schema, shown = find_schema(url), redact(url)
    if schema.state == "old":
        text = f"{shown} has the tables of an older version of Sieve (schema {schema.revision}, not {NEWEST})"
        init = command("init", f"--storage {quote(shown)}")
        if is_sqlite(url):
            return warning(STORAGE, f"{text}; the next command upgrades it", init)
        return broken(STORAGE, f"{text}; commands refuse it until it is upgraded", init)
    if schema.state == "newer":
        text = f"{shown} was written by a newer version of Sieve (schema {schema.revision}, not {NEWEST})"
        return broken(STORAGE, text, "pip install --upgrade sieve-search")
    if schema.state == "absent":
        return broken(STORAGE, f"no studies at {shown}", "run a search, or name the place with --storage or --home")
    return None


def check_schema(storage: Storage) -> Iterator[Finding]:
    """Whether the tables have all columns that their version has."""
    url = redact(storage.url)
    missing = sorted(_missing_columns(storage))
    if missing:
        text = f"{url} lacks {', '.join(missing)}, which schema {NEWEST} has: something else changed it"
        yield broken(STORAGE, text, "restore a backup of it")
    else:
        count = len(study_names(storage))
        yield ok(STORAGE, f"{url} answers, schema {NEWEST}, {count} {'study' if count == 1 else 'studies'}")


def check_sqlite(storage: Storage) -> Iterator[Finding]:
    """Whether a SQLite file is intact, and whether several processes can use it at once."""
    if not storage.is_sqlite:
        return
    with storage.engine.begin() as connection:
        mode = connection.execute(text("PRAGMA journal_mode")).scalar_one()
        damage = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
    if damage != "ok":
        yield broken(STORAGE, f"the file is damaged: {damage}", "restore a backup of it")
    kind = network_drive(sqlite_file(storage.url))
    if kind is not None:
        move = "move --home to a local disk, or use Postgres with --storage"
        yield warning(STORAGE, f"SQLite on a network drive ({kind}): workers on other machines may lose data", move)
    if mode == "wal":
        yield ok(STORAGE, "SQLite with a write-ahead log")
    else:
        move = "move --home to a local disk, or use Postgres with --storage"
        yield warning(STORAGE, f"SQLite cannot keep a write-ahead log here (journal_mode={mode})", move)


def check_trials(storage: Storage) -> Iterator[Finding]:
    """Trials that run in the database but have no worker."""
    stray, lost = stray_trials(storage), lost_leases(storage)
    mend = command("doctor", "--mend")
    if stray:
        names = ", ".join(f"{record.optuna_study} #{number}" for record, number, _ in stray)
        yield broken(TRIALS, f"running without a worker: {names}", mend)
    if lost:
        names = ", ".join(sorted({row.optuna_study for row in lost}))
        trials = "1 trial" if len(lost) == 1 else f"{len(lost)} trials"
        yield warning(TRIALS, f"{trials} of {names} lost their worker; the next search requeues them", mend)
    if not stray and not lost:
        yield ok(TRIALS, "every running trial has a worker")


def check_seal(storage: Storage) -> Iterator[Finding]:
    """Looks at a test set without a result."""
    open_looks = [look for study in study_names(storage) for look in looks(storage, study) if look.result is None]
    for look in open_looks:
        again = command("evaluate", f"--study {quote(look.study)}", '--again "the last look has no result"')
        yield warning(SEAL, f"{look.study}: {look}", again)
    if not open_looks:
        yield ok(SEAL, "every look at a test set has a result")


def stray_trials(storage: Storage) -> list[tuple[StageRecord, int, int]]:
    """The stage, number and id of running trials on which no worker has a lease."""
    before = _leased(storage)
    running = [
        (record, trial.number, database_id(trial))
        for study in study_names(storage)
        for record in read_stages(storage, study)
        for trial in stage_trials(storage, record)
        if trial.state == TrialState.RUNNING
    ]
    leased = before | _leased(storage)  # A trial may start or end while the others are read.
    return [found for found in running if found[2] not in leased]


def lost_leases(storage: Storage) -> list[Row[Any]]:
    """Leases that have expired, or whose owner has died."""
    with storage.reader.begin() as connection:
        now = storage.now(connection)
        rows = connection.execute(select(leases)).all()
    return [row for row in rows if row.expires_at < now or is_dead(row.owner)]


def _leased(storage: Storage) -> set[int]:
    with storage.reader.begin() as connection:
        return set(connection.execute(select(leases.c.trial_id)).scalars())


def _missing_columns(storage: Storage) -> Iterator[str]:
    found = inspect(storage.engine)
    for table in metadata.sorted_tables:
        if not found.has_table(table.name):
            yield table.name
            continue
        columns = {column["name"] for column in found.get_columns(table.name)}
        yield from (f"{table.name}.{column.name}" for column in table.columns if column.name not in columns)
