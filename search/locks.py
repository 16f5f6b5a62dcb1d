"""One supervisor a study: a lock in the database that its holder renews and that a crash gives back."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from data.errors import SieveError
from search.processes import is_dead, process_name
from search.storage import Storage
from search.tables import locks

LOCK_S = 60.0


@contextmanager
def supervising(storage: Storage, study: str) -> Iterator[None]:
    """Hold the study's supervisor lock; raises SieveError while another process holds it."""
    name, token = _lock_name(study), uuid.uuid4().hex
    _acquire(storage, name, token)
    stop = threading.Event()
    renewing = threading.Thread(target=_renew_until, args=(storage, name, token, stop), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        stop.set()
        renewing.join()
        with storage.engine.begin() as connection:
            connection.execute(delete(locks).where(locks.c.name == name, locks.c.token == token))


def is_supervised(storage: Storage, study: str) -> bool:
    """Whether a living process holds the study's supervisor lock."""
    with storage.engine.begin() as connection:
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
    holder = held.owner.rsplit(":", 2) if held else ["another process", "?", ""]
    raise SieveError(
        f"{name.removeprefix('supervisor:')} is already being run by process {holder[1]} on {holder[0]}; "
        f"watch it with `python -m search.status`, or help it with `python -m search.worker`"
    )


def _renew_until(storage: Storage, name: str, token: str, stop: threading.Event) -> None:
    while not stop.wait(LOCK_S / 4):
        try:
            with storage.engine.begin() as connection:
                connection.execute(
                    update(locks)
                    .where(locks.c.name == name, locks.c.token == token)
                    .values(expires_at=storage.now(connection) + LOCK_S)
                )
        except SQLAlchemyError:
            continue  # An outage: the next round tries again, well before the lock expires.
