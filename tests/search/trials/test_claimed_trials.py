"""What becomes of the trials that a worker has claimed together and does not train yet."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from sqlalchemy import select

from data.errors import InfeasibleConfig, UserError
from search.stage.snapshot import stage_trials
from search.store.claims import Claim, Result
from search.store.storage import Storage
from search.store.tables import leases
from search.timing import Timing
from search.trials import claim_trials
from search.trials import worker as worker_module
from search.trials.lease_keeper import OUT_OF_TIME_SIGNAL, STOP_SIGNAL
from search.trials.trial_run import TrialRun
from search.trials.worker import Worker
from tests.search.conftest import OpenStage
from tests.search.trials.conftest import MakeWorker


@pytest.fixture(autouse=True)
def two_trials_make_a_gang(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: any two trials may be trained together, which is measured first. Their training takes no time."""

    def run_gang(runs: Sequence[TrialRun]) -> Iterator[tuple[Claim, Result]]:
        for run in runs:
            yield run.claim, Result(outcome="complete", value=0.5)

    monkeypatch.setattr(claim_trials, "gang_limit", lambda *args, **options: 2)
    monkeypatch.setattr(claim_trials, "member_key", lambda run, config: ("any",))
    monkeypatch.setattr(worker_module, "run_gang", run_gang)


def measure(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something while it is measured whether a gang is faster."""

    def members_to_train(runs: Sequence[TrialRun]) -> int:
        with runs[0].context.interruptible():
            act()
        return len(runs)

    monkeypatch.setattr(claim_trials, "members_to_train", members_to_train)


def raising(error: Exception) -> Callable[..., object]:
    def act(*args: object) -> object:
        raise error

    return act


def states(stage: OpenStage) -> list[str]:
    return [trial.state.name for trial in stage_trials(stage.storage, stage.record)]


def lease_ends(storage: Storage) -> list[float]:
    with storage.engine.begin() as connection:
        return list(connection.execute(select(leases.c.expires_at)).scalars())


def test_a_late_signal_to_earlier_trials_does_not_end_the_measurement(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(monkeypatch, lambda: None)
    worker._interruption.install()
    os.kill(os.getpid(), OUT_OF_TIME_SIGNAL)
    assert worker.run_next()
    assert states(stage) == ["COMPLETE", "COMPLETE", "WAITING"]


def test_trials_whose_time_is_up_while_they_are_measured_end_or_never_begin(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(monkeypatch, lambda: os.kill(os.getpid(), OUT_OF_TIME_SIGNAL))
    worker._interruption.install()
    assert worker.run_next()
    assert states(stage) == ["PRUNED", "WAITING", "WAITING"]


def test_leases_are_renewed_while_a_gang_is_measured(
    make_worker: MakeWorker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait() -> None:
        first, deadline = lease_ends(stage.storage), time.monotonic() + 10
        while min(lease_ends(stage.storage)) <= max(first):
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    measure(monkeypatch, wait)
    worker = make_worker(Timing(lease_tick_s=0.01, renew_s=0.01))
    worker._leases.start()
    try:
        assert worker.run_next()
    finally:
        worker._leases.close()
    assert states(stage) == ["COMPLETE", "COMPLETE", "WAITING"]


@pytest.mark.parametrize(
    "error",
    [InfeasibleConfig("it cannot be built"), UserError("no such weights"), ZeroDivisionError("a bug in a model")],
    ids=lambda error: type(error).__name__,
)
def test_an_error_while_a_gang_is_measured_costs_no_worker(
    error: Exception, worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(monkeypatch, raising(error))
    assert worker.run_next()
    assert states(stage) == ["COMPLETE", "WAITING", "WAITING"]
    assert lease_ends(stage.storage) == []


def test_a_bug_while_parameters_are_drawn_is_recorded_on_its_trial(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrialRun, "draw", raising(ZeroDivisionError("a bug in a model's check")))
    assert worker.run_next()
    assert states(stage) == ["FAIL", "WAITING", "WAITING"]


def test_a_worker_that_is_stopped_while_it_measures_a_gang_puts_all_trials_back(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_twice() -> None:
        os.kill(os.getpid(), STOP_SIGNAL)
        os.kill(os.getpid(), STOP_SIGNAL)
        raise AssertionError("the measurement was not interrupted")

    measure(monkeypatch, stop_twice)
    worker.run()
    assert states(stage) == ["WAITING"] * 3 and lease_ends(stage.storage) == []


def test_an_error_while_more_trials_are_claimed_puts_back_those_that_are_claimed(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_trials, "same_gang", raising(KeyError("a bug")))
    with pytest.raises(KeyError, match="a bug"):
        worker.run_next()
    assert states(stage) == ["WAITING"] * 3 and lease_ends(stage.storage) == []
