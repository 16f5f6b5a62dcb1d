"""One supervisor per study."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import delete, insert, select, update

from data.errors import SieveError
from search.store import locks as locks_module
from search.store.locks import supervising
from search.store.storage import Storage
from search.store.tables import locks


def hold(storage: Storage, owner: str, *, for_s: float) -> None:
    with storage.engine.begin() as connection:
        row = {"name": "supervisor:mine", "owner": owner, "token": "t", "expires_at": storage.now(connection) + for_s}
        connection.execute(insert(locks).values(**row))


def test_a_lock_of_another_machine_holds_and_its_owner_is_named(storage: Storage) -> None:
    hold(storage, "elsewhere:42:1", for_s=60)
    with pytest.raises(SieveError, match="mine is already being run by process 42 on elsewhere"):
        supervising(storage, "mine").__enter__()


def test_an_expired_lock_is_taken_over(storage: Storage) -> None:
    hold(storage, "elsewhere:42:1", for_s=-1)
    with supervising(storage, "mine"):
        pass


def test_studies_do_not_lock_each_other(storage: Storage) -> None:
    with supervising(storage, "mine"), supervising(storage, "yours"):
        pass


def test_a_lock_is_renewed_while_it_is_held(sqlite: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks_module, "LOCK_S", 1.5)
    with supervising(sqlite, "mine"):
        time.sleep(2)
        with sqlite.engine.begin() as connection:
            assert connection.execute(select(locks.c.expires_at)).scalar_one() > time.time()


def test_a_lock_is_given_back_when_the_run_fails(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError), supervising(storage, "mine"):
        raise ZeroDivisionError
    with supervising(storage, "mine"):
        pass


def test_a_supervisor_that_lost_its_lock_gets_an_error_that_names_the_new_owner(storage: Storage) -> None:
    with supervising(storage, "mine") as confirm_lock:
        confirm_lock()
        with storage.engine.begin() as connection:
            connection.execute(update(locks).values(owner="elsewhere:42:1", token="theirs"))
        with pytest.raises(SieveError, match="mine was taken over by process 42 on elsewhere"):
            confirm_lock()
    with storage.engine.begin() as connection:
        assert connection.execute(select(locks.c.token)).scalar_one() == "theirs"


def test_a_supervisor_whose_successor_has_ended_stops_too(storage: Storage) -> None:
    with supervising(storage, "mine") as confirm_lock:
        with storage.engine.begin() as connection:
            connection.execute(delete(locks))
        with pytest.raises(SieveError, match="taken over by another process"):
            confirm_lock()
