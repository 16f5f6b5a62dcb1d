"""Creating Sieve's tables, and bringing those of an older version up to date with Alembic.

Callers hold `search.store.engines.changing_tables`, so that one process at a time does either.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection, Engine, insert

from data.permissions import create_database
from search.store.engines import is_sqlite, sqlite_file
from search.store.schema import NEWEST, read_schema
from search.store.tables import metadata, schema_version
from search.terminal import say
from search.urls import redact

MIGRATIONS = Path(__file__).parent / "migrations"


def create_tables(engine: Engine) -> None:
    """Create Sieve's tables in a database that has none, and record their version."""
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(insert(schema_version).values(version_num=NEWEST))


def upgrade_tables(engine: Engine) -> None:
    """Bring the tables of an older version up to date in one transaction; a SQLite file is backed up first.

    The transaction holds SQLite's write lock, so the backup holds everything that was written before the upgrade.
    """
    url = engine.url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        old = read_schema(connection).revision
        backup = back_up_sqlite(sqlite_file(url)) if is_sqlite(url) else None
        run_migrations(connection)
    kept = f"; {backup} is the file as it was before" if backup else ""
    say(f"{redact(url)}: upgraded from schema {old} to {NEWEST}{kept}")


def back_up_sqlite(file: Path) -> Path:
    """Copy a SQLite database to a new file beside it, named after the installed version of Sieve.

    Never replaces a file: a second backup gets a number. The copy is consistent even while other processes write.
    """
    name = f"{file.name}.before-{version('sieve-search')}"
    part = file.with_name(f"{name}.part")
    try:
        part.unlink(missing_ok=True)
        create_database(part)
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
        backup, number = file.with_name(name), 1
        while backup.exists():
            number += 1
            backup = file.with_name(f"{name}.{number}")
        part.replace(backup)
        return backup
    finally:
        part.unlink(missing_ok=True)


def run_migrations(connection: Connection) -> None:
    """Apply all newer migrations to Sieve's tables in the connection's transaction."""
    from alembic import command  # Here, since an ordinary start needs no migration.
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
