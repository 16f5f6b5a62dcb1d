"""Paused trials on both databases: one worker continues each, and other processes see what they should."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from search import names
from search.store.claims import Claim, Result, claim_next, finish
from search.store.paused import claim_paused, read_rung_trials
from search.store.processes import process_name
from search.store.reaping import reap
from search.store.storage import Storage, open_storage
from search.store.trial_counts import tally
from tests.search.store.test_claims import expire

STUDY = "partA/1-architecture"


@pytest.fixture
def queue(storage: Storage) -> optuna.Study:
    study = optuna.create_study(study_name=STUDY, storage=storage.optuna, direction="maximize")
    for _ in range(3):
        study.enqueue_trial({})
    return study


def claim(storage: Storage) -> Claim:
    claimed = claim_next(storage, STUDY, process_name())
    assert claimed is not None
    return claimed


def resume(storage: Storage, number: int) -> Claim | None:
    trial = next(trial for trial in read_rung_trials(storage, [STUDY]) if trial.number == number)
    return claim_paused(storage, trial, process_name())


def pause(storage: Storage, claimed: Claim, *, epoch: int, value: float) -> None:
    storage.optuna.set_trial_intermediate_value(claimed.trial_id, epoch, value)
    finish(storage, claimed, Result(outcome="pruned", attributes={names.PAUSED: epoch, names.REASON: "paused"}))


def test_a_paused_trial_is_a_pruned_one_with_its_epochs(storage: Storage, queue: optuna.Study) -> None:
    pause(storage, claim(storage), epoch=1, value=0.5)

    first, *others = read_rung_trials(storage, [STUDY])
    assert (first.number, first.state, first.values) == (0, "paused", {1: 0.5})
    assert [trial.state for trial in others] == ["waiting", "waiting"]
    assert tally(storage, [STUDY], maximize=True)[STUDY].kinds == {"pruned": 1, "waiting": 2}
    assert claim(storage).number == 1  # It does not wait in the queue.


def test_one_worker_continues_a_paused_trial_and_its_result_replaces_the_pause(
    storage: Storage, queue: optuna.Study
) -> None:
    pause(storage, claim(storage), epoch=1, value=0.5)

    again = resume(storage, 0)
    assert again is not None and again.was_paused
    assert resume(storage, 0) is None
    assert read_rung_trials(storage, [STUDY])[0].state == "running"
    finish(storage, again, Result(outcome="complete", value=0.75))

    trial = queue.get_trials()[0]
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.75)
    assert not {names.PAUSED, names.REASON} & trial.user_attrs.keys()
    assert resume(storage, 0) is None


def test_a_trial_that_was_pruned_for_good_does_not_continue(storage: Storage, queue: optuna.Study) -> None:
    finish(storage, claim(storage), Result(outcome="pruned", attributes={names.REASON: "diverged"}))
    assert resume(storage, 0) is None
    assert read_rung_trials(storage, [STUDY])[0].state == "ended"


def test_a_trial_whose_worker_is_lost_after_the_pause_waits_for_another_one(
    storage: Storage, queue: optuna.Study
) -> None:
    pause(storage, claim(storage), epoch=1, value=0.5)
    resume(storage, 0)
    expire(storage)

    assert len(reap(storage, [STUDY])) == 1
    found = read_rung_trials(storage, [STUDY])[0]
    assert (found.state, found.values) == ("waiting", {1: 0.5})
    assert claim(storage).number == 0


def test_a_process_that_has_read_a_pause_reads_what_follows(storage: Storage, queue: optuna.Study) -> None:
    other = open_storage(storage.url, create=False)
    study = other.load_study(STUDY)

    def states() -> list[str]:
        return [trial.state.name for trial in study.get_trials(deepcopy=False)]

    try:
        pause(storage, claim(storage), epoch=1, value=0.5)
        assert states() == ["PRUNED", "WAITING", "WAITING"]
        again = resume(storage, 0)
        assert again is not None
        assert states()[0] == "RUNNING"
        pause(storage, again, epoch=2, value=0.6)
        assert study.get_trials(deepcopy=False)[0].intermediate_values == {1: 0.5, 2: 0.6}
        again = resume(storage, 0)
        assert again is not None
        finish(storage, again, Result(outcome="complete", value=0.7))
        assert states()[0] == "COMPLETE"
    finally:
        other.close()


def test_a_sampler_does_not_see_that_a_paused_trial_continues_elsewhere_but_sees_its_result(
    storage: Storage, queue: optuna.Study
) -> None:
    worker = open_storage(storage.url, create=False)
    worker.trials.keeps_paused = True
    study = worker.load_study(STUDY)

    def first() -> tuple[str, dict[int, float]]:
        trial = study.get_trials(deepcopy=False)[0]
        return trial.state.name, trial.intermediate_values

    try:
        pause(storage, claim(storage), epoch=1, value=0.5)
        assert first() == ("PRUNED", {1: 0.5})
        again = resume(storage, 0)
        assert again is not None
        assert first() == ("PRUNED", {1: 0.5})
        pause(storage, again, epoch=2, value=0.6)
        assert first() == ("PRUNED", {1: 0.5, 2: 0.6})
        again = resume(storage, 0)
        assert again is not None
        finish(storage, again, Result(outcome="complete", value=0.7))
        assert first()[0] == "COMPLETE"
    finally:
        worker.close()
