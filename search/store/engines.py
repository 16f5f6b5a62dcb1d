"""Database engines for SQLite and Postgres: options, read-only transactions, and SQLite files that processes can share.

If Optuna opens a SQLite file, a waiting trial may be given to two workers and get two results, because SQLite ignores
`SELECT ... FOR UPDATE`. Here, every transaction that may write takes the write lock when it begins. This prevents both,
and a busy database makes a transaction wait instead of fail.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import ExceptionContext, make_url

from data.files import locked

BUSY_TIMEOUT_S = 60
"""Seconds that a transaction waits for SQLite's write lock."""
CONNECT_TIMEOUT_S = 10
"""Seconds to wait for a Postgres server to accept a connection."""
_CHANGING_TABLES = 0x51E7E
"""Number of the Postgres advisory lock that is held while tables are created or changed."""


def engine_options(url: str) -> dict[str, Any]:
    """Keyword arguments for `create_engine` that suit the kind of database at `url`."""
    if is_sqlite(url):
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    return {"connect_args": {"connect_timeout": CONNECT_TIMEOUT_S}, "pool_pre_ping": True}


def is_sqlite(url: str) -> bool:
    """Whether the URL names a SQLite file."""
    return make_url(url).get_backend_name() == "sqlite"


def sqlite_file(url: str) -> Path:
    """The file that a SQLite URL names."""
    return Path(make_url(url).database or "")


def reading(engine: Engine) -> Engine:
    """The same engine for transactions that only read. It keeps the event listeners that `engine` has by now.

    All that a transaction reads is from one moment, because a trial and its attributes belong together.
    """
    options = {} if is_sqlite(str(engine.url)) else {"isolation_level": "REPEATABLE READ"}
    return engine.execution_options(sieve_reading=True, **options)


def share_sqlite(engine: Engine) -> None:
    """Make a SQLite engine safe for several processes: write-ahead log, and the write lock at every BEGIN."""

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # The driver's own BEGIN would be a deferred one.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        only_reads = connection.get_execution_options().get("sieve_reading", False)
        connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")

    name_file_in_errors(engine)
    engine.dispose()  # Connections made before these listeners lack the settings.


def name_file_in_errors(engine: Engine | type[Engine]) -> None:
    """Add the path of a SQLite file to its errors, as a note: SQLite itself names no file.

    With the class `Engine`, the files of all engines of this process are named, also of those that a library makes.
    """
    if not event.contains(engine, "handle_error", _name_file):
        event.listen(engine, "handle_error", _name_file)


def _name_file(context: ExceptionContext) -> None:
    error = context.original_exception
    if isinstance(error, sqlite3.Error) and context.engine is not None:
        file = str(context.engine.url.database)
        if file not in getattr(error, "__notes__", ()):
            error.add_note(file)


@contextmanager
def changing_tables(url: str) -> Iterator[None]:
    """Wait until no other process creates or changes tables of the database at `url`, and keep others from starting."""
    if is_sqlite(url):
        file = sqlite_file(url)
        with locked(file.with_name(f"{file.name}.lock")):
            yield
        return
    engine = create_engine(url, isolation_level="AUTOCOMMIT", **engine_options(url))
    try:
        with engine.connect() as connection:  # The lock is the session's, and goes with it.
            connection.execute(select(func.pg_advisory_lock(_CHANGING_TABLES)))
            yield
    finally:
        engine.dispose()
