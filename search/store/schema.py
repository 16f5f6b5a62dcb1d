"""Versions of Sieve's own tables: which one a database has, and whether this version of Sieve can use it.

A change of `search.store.tables` needs a new file in `migrations/versions`, made like the last one there, and its
revision here. `tests/search/store/test_upgrade.py` compares what the migrations make with the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, inspect, select

from search.store.tables import schema_version, studies

REVISIONS = ("0001", "0002")
"""Revisions of the tables, oldest first, as the files in `migrations/versions` name them; 0001 is Sieve 0.1.0's."""
NEWEST = REVISIONS[-1]

State = Literal["absent", "old", "current", "newer"]


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The version of Sieve's tables in one database."""

    revision: str | None
    """The revision of the tables; None where the database holds no tables of Sieve."""
    is_taken: bool = False
    """Whether the table `alembic_version`, which Optuna needs, is MLflow's."""

    @property
    def state(self) -> State:
        """Whether the tables are absent, current, or of an older or newer version."""
        if self.revision is None:
            return "absent"
        if self.revision not in REVISIONS:
            return "newer"
        return "current" if self.revision == NEWEST else "old"


def read_schema(connection: Connection) -> Schema:
    """The version of Sieve's tables behind an open connection. Reads only."""
    tables = inspect(connection)
    if tables.has_table(schema_version.name):
        revision = connection.execute(select(schema_version.c.version_num)).scalar_one_or_none()
        if revision is not None:
            return Schema(revision=revision)
    if tables.has_table(studies.name):
        return Schema(revision=REVISIONS[0])  # Sieve 0.1.0 kept no version.
    of_mlflow = tables.has_table("experiments") and tables.has_table("alembic_version")
    return Schema(revision=None, is_taken=of_mlflow and not tables.has_table("studies"))
