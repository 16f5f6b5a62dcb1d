"""The thread beside a worker's training."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from data.errors import StorageAway
from search.store.claims import Result, finish
from search.store.records import update_stage
from search.store.storage import Storage
from search.store.tables import leases
from search.timing import Timing
from search.trials.lease_keeper import OUT_OF_TIME_SIGNAL, STOP_SIGNAL, HeldLeases, LeaseKeeper
from search.trials.stage_end import StageEnd
from tests.search.conftest import open_stage

HURRIED = Timing(lease_tick_s=0.01, renew_s=0.01)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


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
def keeper(sqlite: Storage, received: list[int]) -> Iterator[LeaseKeeper]:
    """Closed while its signals are still caught: a late one would end the tests."""
    started = LeaseKeeper(sqlite, supervisor_pid=None, show=lambda: None, timing=HURRIED)
    yield started
    started.close()


def hold(storage: Storage, is_over: Callable[[], bool] = lambda: False) -> HeldLeases:
    stage = open_stage(storage)
    end = StageEnd(storage, stage.record)
    end.is_over = lambda **within: is_over()  # type: ignore[method-assign]
    return HeldLeases([stage.claim()], end)


def lease_end(storage: Storage) -> float:
    with storage.engine.begin() as connection:
        return float(connection.execute(select(leases.c.expires_at)).scalar_one())


def test_the_lease_of_a_trial_in_training_is_renewed(sqlite: Storage, keeper: LeaseKeeper) -> None:
    keeper.held = hold(sqlite)
    first = lease_end(sqlite)
    keeper.start()
    wait_for(lambda: lease_end(sqlite) > first)
    assert not keeper.held.lost


def test_a_lease_that_another_worker_took_over_is_noticed(sqlite: Storage, keeper: LeaseKeeper) -> None:
    keeper.held = hold(sqlite)
    with sqlite.engine.begin() as connection:
        connection.execute(update(leases).values(token="another worker's"))
    keeper.start()
    held = keeper.held
    wait_for(lambda: held.lost == {0})


def test_a_trial_whose_time_is_up_gets_a_signal(sqlite: Storage, keeper: LeaseKeeper, received: list[int]) -> None:
    keeper.held = hold(sqlite, lambda: True)
    keeper.start()
    wait_for(lambda: OUT_OF_TIME_SIGNAL in received)
    assert STOP_SIGNAL not in received


def test_a_trial_follows_the_deadline_that_the_next_command_gives_its_stage(
    sqlite: Storage, keeper: LeaseKeeper, received: list[int]
) -> None:
    stage = open_stage(sqlite, epochs=1)
    finish(sqlite, stage.claim(), Result(outcome="complete", value=0.5))
    keeper.held = HeldLeases([stage.claim()], StageEnd(sqlite, replace(stage.record, deadline=time.time() + 3600)))
    keeper.start()
    held = keeper.held
    wait_for(lambda: held.end.at is None)  # Without a budget.
    update_stage(sqlite, stage.record, deadline=1.0)
    wait_for(lambda: OUT_OF_TIME_SIGNAL in received)


def test_a_worker_without_its_supervisor_is_stopped(sqlite: Storage, received: list[int]) -> None:
    orphan = LeaseKeeper(sqlite, supervisor_pid=os.getppid() + 1, show=lambda: None, timing=HURRIED)
    orphan.start()
    wait_for(lambda: STOP_SIGNAL in received)
    assert orphan.supervisor_gone.is_set()
    orphan.close()


def test_a_database_that_is_away_for_a_while_does_not_end_the_keeper(sqlite: Storage, keeper: LeaseKeeper) -> None:
    asked: list[int] = []

    def away() -> bool:
        asked.append(1)
        if len(asked) < 3:
            raise StorageAway("the database does not answer")
        return False

    keeper.held = hold(sqlite, away)
    first = lease_end(sqlite)
    keeper.start()
    wait_for(lambda: lease_end(sqlite) > first)
    assert len(asked) >= 3
