"""The seal on a test set: every look is recorded before it happens, and a second look needs a reason."""

from __future__ import annotations

import getpass
import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from data.errors import SealBroken
from search.store import tables
from search.store.look_result import LookResult
from search.store.records import StudyRecord
from search.store.retries import retried
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.text import show_when

FIRST_LOOK = "first look"
"""Reason that is recorded for a look that needed none."""
_LOOK_COLUMNS = [column for column in tables.looks.c if column.name != "token"]


@dataclass(frozen=True, kw_only=True)
class Look:
    """One opening of the seal, whether or not it came to a result."""

    study: str
    number: int
    by: str
    """The user who opened the seal, as `user@host`."""
    opened_at: float
    """Seconds since the epoch."""
    reason: str
    model_uri: str
    result: LookResult | None
    """The test result; None during the look, and permanently if the look crashed."""

    @property
    def name(self) -> str:
        """The look's name in a list of looks of several studies."""
        return f"look {self.number} by {self.study}"

    def __str__(self) -> str:
        when = show_when(self.opened_at)
        result = f"accuracy {self.result.accuracy:.4f}" if self.result else "no result: it crashed or still runs"
        return f"look {self.number} on {when} by {self.by} ({result})"


def open_look(storage: Storage, study: str, *, by: str, model_uri: str, reason: str | None) -> int:
    """Record a look that is about to happen and return its number, from 1; call it before a test image is opened.

    Without a `reason` it succeeds once for a study, however many evaluators race: the row's primary key decides.
    Raises SealBroken for a look after that; a look that crashed counts.
    """
    row = {
        "study": study,
        "by": by,
        "opened_at": time.time(),
        "reason": reason or FIRST_LOOK,
        "model_uri": model_uri,
        "token": uuid.uuid4().hex,
    }
    while True:
        try:
            return _insert_look(storage, row, needs_reason=not reason)
        except IntegrityError:
            continue  # Another evaluator opened a look in the meantime.


@retried
def _insert_look(storage: Storage, row: Mapping[str, Any], *, needs_reason: bool) -> int:
    """Insert a look after the last one; repeated with the same token, it returns the number that it inserted."""
    own = select(tables.looks.c.number).where(
        tables.looks.c.study == row["study"], tables.looks.c.token == row["token"]
    )
    with storage.reader.begin() as connection:
        number = connection.execute(own).scalar_one_or_none()
    if number is not None:
        return int(number)
    earlier = looks(storage, row["study"])
    if earlier and needs_reason:
        raise SealBroken(_refusal(earlier))
    number = len(earlier) + 1
    with storage.engine.begin() as connection:
        connection.execute(insert(tables.looks).values(**row, number=number))
    return number


@retried
def close_look(storage: Storage, study: str, number: int, result: LookResult) -> None:
    """Store the result of a look; a result that is stored already stays."""
    look = (tables.looks.c.study == study) & (tables.looks.c.number == number) & tables.looks.c.result.is_(None)
    with storage.engine.begin() as connection:
        connection.execute(update(tables.looks).where(look).values(result=result.to_json()))


@retried
def looks(storage: Storage, study: str) -> list[Look]:
    """Every look at a study's test set, by number."""
    query = select(*_LOOK_COLUMNS).where(tables.looks.c.study == study).order_by(tables.looks.c.number)
    with storage.reader.begin() as connection:
        return [_look(dict(row._mapping)) for row in connection.execute(query)]


@retried
def looks_by_others(storage: Storage, record: StudyRecord) -> list[Look]:
    """Looks of other studies in this database at the same test images, oldest first."""
    query = (
        select(*_LOOK_COLUMNS, tables.studies.c.data)
        .join(tables.studies, tables.studies.c.name == tables.looks.c.study)
        .where(tables.looks.c.study != record.name)
        .order_by(tables.looks.c.opened_at)
    )
    with storage.reader.begin() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    sealed = record.data.sealed_fingerprint
    return [_look(row) for row in rows if StudyData.from_json(row.pop("data")).sealed_fingerprint == sealed]


@retried
def rename_model(storage: Storage, record: StudyRecord, model_uri: str) -> None:
    """Give a study's champion, and the looks at the test set with it, another address of the same model."""
    assert record.champion is not None
    champion = replace(record.champion, model_uri=model_uri).to_json()
    same = (tables.looks.c.study == record.name) & (tables.looks.c.model_uri == record.champion.model_uri)
    with storage.engine.begin() as connection:
        connection.execute(update(tables.studies).where(tables.studies.c.name == record.name).values(champion=champion))
        connection.execute(update(tables.looks).where(same).values(model_uri=model_uri))


def _look(row: Mapping[str, Any]) -> Look:
    return Look(**{**row, "result": LookResult.from_json(row["result"]) if row["result"] else None})


def describe_unfinished(taken: Sequence[Look]) -> str:
    """The state of a test set without a result: `sealed`, or opened by looks that crashed or still run."""
    return "opened, no result" if taken else "sealed"


def describe_look(result: LookResult) -> str:
    """The number of the look that gave a result, and the earlier looks of other studies at the same images."""
    others = ", ".join(result.looks_by_others)
    return f"look {result.look}" + (f", after {others} at the same images" if others else "")


def whoami() -> str:
    """`user@host` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # A container may run under a user id that has no name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _refusal(earlier: list[Look]) -> str:
    seen = "; ".join(str(look) for look in earlier)
    return (
        f"{earlier[0].study}: the sealed test set has been opened before: {seen}. "
        f"To look again, give --again REASON; every report lists the look"
    )
