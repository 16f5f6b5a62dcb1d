from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError, OperationalError

from data.errors import LeaseLost
from search import names
from search.store import claims, reaping
from search.store.claims import Claim, Result, claim_next, delete_lease, finish, release, renew
from search.store.processes import process_name
from search.store.reaping import MAX_LOSSES, reap
from search.store.records import EpochRecord, read_epochs
from search.store.storage import Storage, open_storage
from search.store.tables import leases
from search.store.write_trials import end_trial
from tests.forkserver import FORKS

STUDY = "partA/1-architecture"


def enqueue(storage: Storage, trials: int) -> None:
    study = optuna.create_study(study_name=STUDY, storage=storage.optuna, direction="maximize")
    for _ in range(trials):
        study.enqueue_trial({})


def states(storage: Storage) -> Counter[str]:
    return Counter(trial.state.name for trial in storage.load_study(STUDY).get_trials(deepcopy=False))


def claim(storage: Storage) -> Claim:
    claimed = claim_next(storage, STUDY, process_name())
    assert claimed is not None
    return claimed


def expire(storage: Storage) -> None:
    with storage.engine.begin() as connection:
        connection.execute(update(leases).values(expires_at=time.time() - 1))


def _claim_and_finish_all(url: str) -> list[int]:
    storage = open_storage(url, create=False)
    done = []
    while (claimed := claim_next(storage, STUDY, process_name())) is not None:
        finish(storage, claimed, Result(outcome="complete", value=1.0))
        done.append(claimed.number)
    storage.close()
    return done


def _tell(url: str, claimed: Claim) -> bool:
    storage = open_storage(url, create=False)
    try:
        finish(storage, claimed, Result(outcome="complete", value=0.5))
    except LeaseLost:
        return False
    finally:
        storage.close()
    return True


def _reap(url: str) -> int:
    storage = open_storage(url, create=False)
    try:
        return len(reap(storage, [STUDY]))
    finally:
        storage.close()


def in_processes(function: object, *columns: list[object], processes: int) -> list[object]:
    with ProcessPoolExecutor(processes, mp_context=FORKS) as pool:
        return list(pool.map(function, *columns))  # type: ignore[arg-type]


def test_trials_are_claimed_in_the_order_of_their_numbers(storage: Storage) -> None:
    enqueue(storage, 3)
    assert [claim(storage).number for _ in range(3)] == [0, 1, 2]
    assert claim_next(storage, STUDY, process_name()) is None


def test_racing_processes_run_every_trial_once(storage: Storage) -> None:
    enqueue(storage, 40)
    lists = in_processes(_claim_and_finish_all, [storage.url] * 4, processes=4)
    numbers = [number for numbers in lists for number in numbers]  # type: ignore[attr-defined]
    assert sorted(numbers) == list(range(40))
    assert states(storage) == {"COMPLETE": 40}


def test_of_two_results_for_one_trial_one_is_accepted(storage: Storage) -> None:
    enqueue(storage, 1)
    claimed = claim(storage)
    accepted = in_processes(_tell, [storage.url] * 4, [claimed] * 4, processes=4)
    assert Counter(accepted) == {True: 1, False: 3}
    assert states(storage) == {"COMPLETE": 1}


def test_a_trial_with_an_expired_lease_is_requeued_with_its_number_and_parameters(storage: Storage) -> None:
    enqueue(storage, 1)
    claimed = claim(storage)
    trial = storage.open_trial(storage.load_study(STUDY), claimed.trial_id)
    drawn = trial.suggest_float("learning_rate", 0.001, 0.1)
    trial.report(0.3, 1)
    expire(storage)
    assert reap(storage, [STUDY]) == [claimed.trial_id]
    again = claim(storage)
    assert (again.trial_id, again.number) == (claimed.trial_id, 0)
    resumed = storage.open_trial(storage.load_study(STUDY), again.trial_id)
    assert resumed.suggest_float("learning_rate", 0.001, 0.1) == drawn
    assert storage.optuna.get_trial(again.trial_id).intermediate_values == {1: 0.3}
    assert storage.optuna.get_trial(again.trial_id).user_attrs[names.LOSSES] == 1


def test_a_lease_that_has_not_expired_is_kept(storage: Storage) -> None:
    enqueue(storage, 1)
    claim(storage)
    assert reap(storage, [STUDY]) == []
    assert states(storage) == {"RUNNING": 1}


def test_the_trial_of_a_dead_process_is_reaped_before_its_lease_expires(storage: Storage) -> None:
    enqueue(storage, 1)
    host, pid, _ = process_name().rsplit(":", 2)
    claimed = claim_next(storage, STUDY, f"{host}:{pid}:1")  # Our process id, used by a process of long ago.
    assert claimed is not None
    assert reap(storage, [STUDY]) == [claimed.trial_id]


def test_a_worker_that_lost_its_lease_cannot_renew_release_or_finish(storage: Storage) -> None:
    enqueue(storage, 1)
    late = claim(storage)
    expire(storage)
    reap(storage, [STUDY])
    current = claim(storage)
    with pytest.raises(LeaseLost):
        renew(storage, late)
    with pytest.raises(LeaseLost):
        release(storage, late)
    epoch = EpochRecord(trial_id=late.trial_id, epoch=1, metrics={}, value=0.9)
    with pytest.raises(LeaseLost):
        finish(storage, late, Result(outcome="complete", value=0.9, epochs=[epoch], constraints={"feasible": 1.0}))
    assert read_epochs(storage, late.trial_id) == []
    finish(storage, current, Result(outcome="complete", value=0.1))
    trial = storage.optuna.get_trial(current.trial_id)
    assert trial.value == 0.1 and trial.constraints == {}


def test_a_result_outlasts_an_outage_while_it_is_recorded(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue(storage, 1)
    claimed = claim(storage)
    record, outages = end_trial, [OperationalError("UPDATE", {}, Exception("no connection"))]

    def flaky(*args: Any) -> None:
        if outages:
            raise outages.pop()
        record(*args)

    monkeypatch.setattr(claims, "end_trial", flaky)
    finish(storage, claimed, Result(outcome="complete", value=0.5))
    assert states(storage) == {"COMPLETE": 1} and not outages
    assert reap(storage, [STUDY]) == []


def test_racing_reapers_requeue_each_lost_trial_once(storage: Storage) -> None:
    enqueue(storage, 10)
    for _ in range(10):
        claim(storage)
    expire(storage)
    assert sum(in_processes(_reap, [storage.url] * 4, processes=4)) == 10  # type: ignore[arg-type]
    trials = storage.load_study(STUDY).get_trials(deepcopy=False)
    assert [trial.user_attrs[names.LOSSES] for trial in trials] == [1] * 10
    assert states(storage) == {"WAITING": 10}


def test_a_result_that_was_acknowledged_before_a_crash_is_recorded_by_the_reaper(storage: Storage) -> None:
    enqueue(storage, 1)
    claimed = claim(storage)
    result = {"outcome": "complete", "value": 0.7, "attributes": {"best_epoch": 3}}
    with storage.engine.begin() as connection:  # What workers of Sieve 0.1.0 write before they finish Optuna's trial.
        connection.execute(update(leases).values(result=result, expires_at=time.time() - 1))
    assert reap(storage, [STUDY]) == []
    trial = storage.optuna.get_trial(claimed.trial_id)
    assert (trial.state, trial.value, trial.user_attrs["best_epoch"]) == (TrialState.COMPLETE, 0.7, 3)


def test_a_trial_whose_worker_is_lost_too_often_fails(storage: Storage) -> None:
    enqueue(storage, 1)
    for _ in range(MAX_LOSSES + 1):
        claim(storage)
        expire(storage)
        reap(storage, [STUDY])
    assert states(storage) == {"FAIL": 1}
    (trial,) = storage.load_study(STUDY).get_trials(deepcopy=False)
    assert "lost 4 times" in trial.user_attrs[names.REASON]


def test_a_released_trial_waits_again_and_counts_as_no_loss(storage: Storage) -> None:
    enqueue(storage, 1)
    release(storage, claim(storage))
    assert states(storage) == {"WAITING": 1}
    assert names.LOSSES not in storage.optuna.get_trial(claim(storage).trial_id).user_attrs


def test_a_running_trial_without_a_lease_is_requeued(storage: Storage) -> None:
    """For example in a database that was edited by hand."""
    enqueue(storage, 2)
    bare, held = claim(storage), claim(storage)
    delete_lease(storage, bare.trial_id, bare.token)

    assert reap(storage, [STUDY]) == [bare.trial_id]

    assert states(storage) == {"WAITING": 1, "RUNNING": 1}
    assert claim(storage).trial_id == bare.trial_id
    renew(storage, held)
    with pytest.raises(LeaseLost):
        renew(storage, bare)


def test_a_trial_that_is_being_released_is_claimed_when_its_lease_is_gone(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two transactions overlap, as they can on Postgres, a claim may collide with the old lease."""
    enqueue(storage, 1)
    first, collisions = claim(storage), [IntegrityError("INSERT", {}, Exception("sieve_lease"))]
    original = claims.lease_first

    def collide(*args: Any) -> Any:
        if collisions:
            release(storage, first)
            raise collisions.pop()
        return original(*args)

    monkeypatch.setattr(claims, "lease_first", collide)
    assert claim(storage).trial_id == first.trial_id


@pytest.mark.parametrize("step", ["_take_over", "set_state", "delete_lease"])
def test_a_loss_whose_reaper_is_lost_as_well_counts_once(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    enqueue(storage, 1)
    claim(storage)
    expire(storage)
    original = getattr(reaping, step)

    def killed(*args: Any) -> None:
        original(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(reaping, step, killed)
    with pytest.raises(KeyboardInterrupt):
        reap(storage, [STUDY])
    monkeypatch.undo()
    expire(storage)

    reap(storage, [STUDY])

    assert states(storage) == {"WAITING": 1}
    assert storage.optuna.get_trial(claim(storage).trial_id).user_attrs[names.LOSSES] == 1
