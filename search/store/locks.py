"""One supervisor a study: a lock in the database that its holder renews and that a crash gives back."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from data.errors import SieveError
from search.store.processes import is_dead, process_name
from search.store.storage import OUTAGE_S, Storage, with_retries
from search.store.tables import locks

LOCK_S = OUTAGE_S + 30.0
"""Seconds after which a supervisor that says nothing has lost its study; an outage alone must not cost it."""


@contextmanager
def supervising(storage: Storage, study: str) -> Iterator[Callable[[], None]]:
    """Hold the study's supervisor lock; raises SieveError while another process holds it.

    Yields what the holder calls before anything that only one supervisor may do: it raises SieveError once the lock is
    another's, as after a sleep of the machine that was longer than the lock lasts.
    """
    name, token = _lock_name(study), uuid.uuid4().hex
    _acquire(storage, name, token)
    stop = threading.Event()
    renewing = threading.Thread(target=_renew_until, args=(storage, name, token, stop), daemon=True)
    renewing.start()
    try:
        yield partial(_confirm, storage, name, token)
    finally:
        stop.set()
        renewing.join()
        with suppress(SQLAlchemyError), storage.engine.begin() as connection:  # In an outage the lock runs out.
            connection.execute(delete(locks).where(locks.c.name == name, locks.c.token == token))


def is_supervised(storage: Storage, study: str) -> bool:
    """Whether a living process holds the study's supervisor lock."""
    with storage.reader.begin() as connection:
        now = storage.now(connection)
        held = connection.execute(select(locks).where(locks.c.name == _lock_name(study))).one_or_none()
    return held is not None and held.expires_at >= now and not is_dead(held.owner)


def _lock_name(study: str) -> str:
    return f"supervisor:{study}"


def _acquire(storage: Storage, name: str, token: str) -> None:
    owner = process_name()
    try:
        with storage.engine.begin() as connection:
            expires_at = storage.now(connection) + LOCK_S
            connection.execute(insert(locks).values(name=name, owner=owner, token=token, expires_at=expires_at))
        return
    except IntegrityError:
        pass
    with storage.engine.begin() as connection:
        now = storage.now(connection)
        held = connection.execute(select(locks).where(locks.c.name == name)).one_or_none()
        if held is None or held.expires_at < now or is_dead(held.owner):
            taken = connection.execute(
                update(locks)
                .where(locks.c.name == name, locks.c.token == (held.token if held else ""))
                .values(owner=owner, token=token, expires_at=now + LOCK_S)
            )
            if taken.rowcount == 1:
                return
    raise SieveError(
        f"{_study(name)} is already being run by {_process(held.owner if held else None)}; "
        f"watch it with `python -m search.status`, or help it with `python -m search.worker`"
    )


def _confirm(storage: Storage, name: str, token: str) -> None:
    held = with_retries(_holder, storage, name)
    if held is None or held.token != token:
        raise SieveError(
            f"{_study(name)} was taken over by {_process(held.owner if held else None)}, because this process was "
            f"silent for over {LOCK_S:.0f} s (asleep?); it stops here, and its trials go on there"
        )


def _holder(storage: Storage, name: str) -> Row[Any] | None:
    with storage.reader.begin() as connection:
        return connection.execute(select(locks).where(locks.c.name == name)).one_or_none()


def _study(name: str) -> str:
    return name.removeprefix("supervisor:")


def _process(owner: str | None) -> str:
    if owner is None:
        return "another process"
    host, pid, _ = owner.rsplit(":", 2)
    return f"process {pid} on {host}"


def _renew_until(storage: Storage, name: str, token: str, stop: threading.Event) -> None:
    pause_s = LOCK_S / 4
    while not stop.wait(pause_s):
        try:
            with storage.engine.begin() as connection:
                connection.execute(
                    update(locks)
                    .where(locks.c.name == name, locks.c.token == token)
                    .values(expires_at=storage.now(connection) + LOCK_S)
                )
            pause_s = LOCK_S / 4
        except SQLAlchemyError:
            pause_s = 1.0  # An outage: at its end the lock must not run out.
