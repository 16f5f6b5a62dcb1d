"""Every `search.run` that worked on a study: what was typed, by whom, and the software that ran."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import insert, select

from search.store import tables
from search.store.seal import whoami
from search.store.software import GIT_COMMIT, software
from search.store.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Command:
    """One of them."""

    started_at: float
    """Seconds since the epoch."""
    by: str
    """`user@host`"""
    command: str
    """As it can be typed again; without what only says where things lie, or whom to tell."""
    software: Mapping[str, str]
    """Versions and commit, by tag."""

    @property
    def commit(self) -> str | None:
        return self.software.get(GIT_COMMIT)


def add_command(storage: Storage, study: str, command: str) -> None:
    """Write down that a command works on a study from now on."""
    row = {"started_at": time.time(), "by": whoami(), "command": command, "software": dict(software())}
    with storage.engine.begin() as connection:
        connection.execute(insert(tables.commands).values(study=study, **row))


def read_commands(storage: Storage, study: str) -> list[Command]:
    """In the order in which they came; the first one began the study."""
    columns = [column for column in tables.commands.c if column.name not in ("id", "study")]
    query = select(*columns).where(tables.commands.c.study == study).order_by(tables.commands.c.id)
    with storage.reader.begin() as connection:
        return [Command(**row._mapping) for row in connection.execute(query)]
