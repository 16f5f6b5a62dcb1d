"""The `search.run` commands that worked on a study: the command line, the user, and the software versions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select

from search.store import tables
from search.store.retries import retried
from search.store.seal import whoami
from search.store.software import GIT_COMMIT, software
from search.store.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Command:
    """One `search.run` command."""

    started_at: float
    """Seconds since the epoch."""
    by: str
    """The user who ran it, as `user@host`."""
    command: str
    """The command line to repeat it, without the options for places and notifications."""
    software: Mapping[str, str]
    """Versions of packages and the commit of the code, by tag."""

    @property
    def commit(self) -> str | None:
        """The git commit of the code that ran; None outside a repository."""
        return self.software.get(GIT_COMMIT)


def add_command(storage: Storage, study: str, command: str) -> None:
    """Record that a command works on a study from now on."""
    row = {"study": study, "started_at": time.time(), "by": whoami(), "command": command, "software": dict(software())}
    _insert_command(storage, row)


@retried
def _insert_command(storage: Storage, row: Mapping[str, Any]) -> None:
    """Insert a row, unless a call whose answer was lost in an outage has inserted it."""
    same = [tables.commands.c[key] == row[key] for key in ("study", "started_at", "by")]
    with storage.engine.begin() as connection:
        if connection.execute(select(tables.commands.c.id).where(*same)).first() is None:
            connection.execute(insert(tables.commands).values(**row))


@retried
def read_commands(storage: Storage, study: str) -> list[Command]:
    """The commands of a study, oldest first; the first one began it."""
    columns = [column for column in tables.commands.c if column.name not in ("id", "study")]
    query = select(*columns).where(tables.commands.c.study == study).order_by(tables.commands.c.id)
    with storage.reader.begin() as connection:
        return [Command(**row._mapping) for row in connection.execute(query)]
