"""Many processes want the same trials: each trial has one owner and one accepted result, and each loss one retry."""

from __future__ import annotations

from collections import Counter

import optuna
import pytest
from sqlalchemy import update

from data.errors import LeaseLost
from search import names
from search.store.claims import Claim, Result, claim_next, finish
from search.store.processes import process_name
from search.store.reaping import reap
from search.store.storage import Storage, open_storage
from search.store.tables import leases
from tests.chaos.conftest import Print
from tests.chaos.crowd import Crowd
from tests.chaos.kills import KillAt
from tests.forkserver import FORKS

RUNS = 20
TRIALS = 12
CLAIMERS = 8
TELLERS = 4
REAPERS = 6
ROUNDS = 3


def enqueue(storage: Storage, study: str, trials: int = TRIALS) -> None:
    made = optuna.create_study(study_name=study, storage=storage.optuna, direction="maximize")
    for _ in range(trials):
        made.enqueue_trial({})


def expire(storage: Storage) -> None:
    with storage.engine.begin() as connection:
        connection.execute(update(leases).values(expires_at=1.0))


def claim_all(storage: Storage, study: str) -> list[Claim]:
    claims = []
    while (claimed := claim_next(storage, study, process_name())) is not None:
        claims.append(claimed)
    return claims


def tell_all(storage: Storage, claims: list[Claim], value: float) -> list[tuple[int, float]]:
    """Trials and values that were accepted from this process."""
    accepted = []
    for claim in claims:
        try:
            finish(storage, claim, Result(outcome="complete", value=value))
        except LeaseLost:
            continue
        accepted.append((claim.number, value))
    return accepted


def reap_all(storage: Storage, study: str) -> list[int]:
    return reap(storage, [study])


def test_eight_workers_claim_and_four_finish_the_same_trials_twenty_times(storage: Storage, figures: Print) -> None:
    with Crowd(storage.url, CLAIMERS) as claimers, Crowd(storage.url, TELLERS) as tellers:
        for run in range(RUNS):
            study = f"race/{run}"
            enqueue(storage, study)
            lists = claimers.map(claim_all, [study] * CLAIMERS)
            claims = [claim for found in lists for claim in found]
            assert sorted(claim.number for claim in claims) == list(range(TRIALS))

            told = tellers.map(tell_all, [claims] * TELLERS, range(TELLERS))

            accepted = sorted(result for results in told for result in results)
            trials = storage.load_study(study).get_trials(deepcopy=False)
            assert accepted == [(trial.number, trial.value) for trial in trials]
            assert len(accepted) == TRIALS
    figures(f"{RUNS} runs, {CLAIMERS} claim {TRIALS} trials, {TELLERS} tell each: 0 claimed twice, 0 accepted twice")


def test_six_racing_reapers_put_each_lost_trial_back_once(storage: Storage, figures: Print) -> None:
    enqueue(storage, "lost/1")
    with Crowd(storage.url, REAPERS) as reapers:
        for losses in range(1, ROUNDS + 1):
            assert len(claim_all(storage, "lost/1")) == TRIALS
            expire(storage)

            put_back = Counter(trial for found in reapers.map(reap_all, ["lost/1"] * REAPERS) for trial in found)

            # Not from the store's cache, which reads a waiting trial's attributes when it runs again.
            trials = storage.optuna.get_all_trials(storage.optuna.get_study_id_from_name("lost/1"), deepcopy=False)
            assert put_back == {trial._trial_id: 1 for trial in trials}
            assert {trial.user_attrs[names.LOSSES] for trial in trials} == {losses}
            assert {trial.state.name for trial in trials} == {"WAITING"}
    figures(f"{TRIALS} trials lost {ROUNDS} times, {REAPERS} reapers: each put back {ROUNDS} times")


STEPS = [
    KillAt(target="search.store.reaping:_take_over", when="after"),
    KillAt(target="optuna.storages:RDBStorage.set_trial_user_attr", when="after"),
    KillAt(target="search.store.reaping:set_state", when="after"),
]


def _reap_and_die(url: str, step: KillAt) -> None:
    step()
    reap(open_storage(url, create=False), ["lost/1"])


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_reaper_killed_between_two_steps_leaves_one_loss_and_one_retry(storage: Storage, step: KillAt) -> None:
    enqueue(storage, "lost/1", trials=1)
    assert len(claim_all(storage, "lost/1")) == 1
    expire(storage)
    reaper = FORKS.Process(target=_reap_and_die, args=(storage.url, step))
    reaper.start()
    reaper.join()
    assert reaper.exitcode == -9

    reap(storage, ["lost/1"])

    (trial,) = storage.load_study("lost/1").get_trials(deepcopy=False)
    assert (trial.state.name, trial.user_attrs[names.LOSSES]) == ("WAITING", 1)
    assert len(claim_all(storage, "lost/1")) == 1
