"""One supervisor per study: a lock in the database that its holder renews and that expires after a crash."""

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
from search.store.retries import retried
from search.store.storage import Storage
from search.store.tables import locks
from search.timing import DEFAULT_TIMING

LOCK_S = DEFAULT_TIMING.outage_s + 30.0
"""Seconds after which a supervisor that does not renew its lock loses it; an outage alone must not cost it."""


@contextmanager
def supervising(storage: Storage, study: str) -> Iterator[Callable[[], None]]:
    """Hold the study's supervisor lock; raises SieveError while another process holds it.

    Yields a function that the holder calls before anything that only one supervisor may do: it raises SieveError once
    another process has the lock, for example after the machine slept for longer than the lock lasts.
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
        with suppress(SQLAlchemyError), storage.engine.begin() as connection:  # In an outage the lock expires.
            connection.execute(delete(locks).where(locks.c.name == name, locks.c.token == token))


@retried
def is_supervised(storage: Storage, study: str) -> bool:
    """Whether a running process holds the study's supervisor lock."""
    with storage.reader.begin() as connection:
        now = storage.now(connection)
        held = connection.execute(select(locks).where(locks.c.name == _lock_name(study))).one_or_none()
    return held is not None and held.expires_at >= now and not is_dead(held.owner)


def _lock_name(study: str) -> str:
    return f"supervisor:{study}"


@retried
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
        if held is not None and held.token == token:
            return  # Inserted by a call whose answer was lost in an outage.
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
        f"watch it with `sieve status`, or add a worker with `sieve worker`"
    )


def _confirm(storage: Storage, name: str, token: str) -> None:
    held = _holder(storage, name)
    if held is None or held.token != token:
        raise SieveError(
            f"{_study(name)} was taken over by {_process(held.owner if held else None)}, because this process did "
            f"not renew its lock for {LOCK_S:.0f} s (did the machine sleep?); it stops, and the search continues there"
        )


@retried
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
            pause_s = 1.0  # In an outage: the lock must not expire when it ends.
