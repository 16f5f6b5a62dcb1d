"""The thread beside a worker's training."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select, update

from data.errors import StorageAway
from search.store.storage import Storage
from search.store.tables import leases
from search.trials import keeper as keeper_module
from search.trials.keeper import OUT_OF_TIME_SIGNAL, STOP_SIGNAL, Keeper, Watched
from tests.search.conftest import open_stage


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "TICK_S", 0.01)
    monkeypatch.setattr(keeper_module, "RENEW_S", 0.01)


@pytest.fixture
def received() -> Iterator[list[int]]:
    """Signals that reach the training thread."""
    signals: list[int] = []
    kinds = (STOP_SIGNAL, OUT_OF_TIME_SIGNAL)
    before = {kind: signal.signal(kind, lambda signum, frame: signals.append(signum)) for kind in kinds}
    yield signals
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.fixture
def keeper(sqlite: Storage, received: list[int]) -> Iterator[Keeper]:
    """Closed while its signals are still caught: a late one would end the tests."""
    started = Keeper(sqlite, supervisor_pid=None, show=lambda: None)
    yield started
    started.close()


def watch(storage: Storage, is_out_of_time: Callable[[], bool] = lambda: False) -> Watched:
    return Watched((open_stage(storage).claim(),), is_out_of_time, set())


def lease_end(storage: Storage) -> float:
    with storage.engine.begin() as connection:
        return float(connection.execute(select(leases.c.expires_at)).scalar_one())


def test_the_lease_of_a_trial_in_training_is_renewed(sqlite: Storage, keeper: Keeper) -> None:
    keeper.watched = watch(sqlite)
    first = lease_end(sqlite)
    keeper.start()
    wait_for(lambda: lease_end(sqlite) > first)
    assert not keeper.watched.lost


def test_a_lease_that_somebody_else_took_over_is_noticed(sqlite: Storage, keeper: Keeper) -> None:
    keeper.watched = watch(sqlite)
    with sqlite.engine.begin() as connection:
        connection.execute(update(leases).values(token="somebody else's"))
    keeper.start()
    watched = keeper.watched
    wait_for(lambda: watched.lost == {0})


def test_a_trial_whose_time_is_up_gets_a_signal(sqlite: Storage, keeper: Keeper, received: list[int]) -> None:
    keeper.watched = watch(sqlite, lambda: True)
    keeper.start()
    wait_for(lambda: OUT_OF_TIME_SIGNAL in received)
    assert STOP_SIGNAL not in received


def test_a_worker_without_its_supervisor_is_stopped(sqlite: Storage, received: list[int]) -> None:
    abandoned = Keeper(sqlite, supervisor_pid=os.getppid() + 1, show=lambda: None)
    abandoned.start()
    wait_for(lambda: STOP_SIGNAL in received)
    assert abandoned.abandoned.is_set()
    abandoned.close()


def test_a_database_that_is_away_for_a_while_does_not_end_the_keeper(sqlite: Storage, keeper: Keeper) -> None:
    asked: list[int] = []

    def away() -> bool:
        asked.append(1)
        if len(asked) < 3:
            raise StorageAway("the database does not answer")
        return False

    keeper.watched = watch(sqlite, away)
    first = lease_end(sqlite)
    keeper.start()
    wait_for(lambda: lease_end(sqlite) > first)
    assert len(asked) >= 3
