from __future__ import annotations

import math
from collections.abc import Callable

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from data.errors import StorageAway
from search.store.claims import Claim, Result, claim_next, finish, release
from search.store.processes import process_name
from search.store.records import EpochRecord, add_epochs, read_epochs
from search.store.storage import Storage
from search.store.write_trials import end_trial

STUDY = "partA/1-architecture"
WAITING = 6


def claim(storage: Storage) -> Claim:
    claimed = claim_next(storage, STUDY, process_name())
    assert claimed is not None
    return claimed


@pytest.fixture
def queue(storage: Storage) -> optuna.Study:
    study = optuna.create_study(study_name=STUDY, storage=storage.optuna, direction="maximize")
    for value in range(WAITING):
        study.enqueue_trial({"x": value})
    return study


def _release(storage: Storage, queue: optuna.Study) -> None:
    claimed = claim(storage)
    storage.trials.read_now(queue._study_id)
    release(storage, claimed)


def _complete(storage: Storage, queue: optuna.Study) -> None:
    finish(storage, claim(storage), Result(outcome="complete", value=0.5, attributes={"seed": 1}))


def _report(storage: Storage, queue: optuna.Study) -> None:
    storage.optuna.set_trial_intermediate_value(claim(storage).trial_id, 1, 0.25)


def _finish_out_of_order(storage: Storage, queue: optuna.Study) -> None:
    first, second = claim(storage), claim(storage)
    finish(storage, second, Result(outcome="complete", value=0.5))
    storage.trials.get_all_trials(queue._study_id)
    release(storage, first)
    storage.trials.get_all_trials(queue._study_id)
    finish(storage, claim(storage), Result(outcome="pruned"))


def _enqueue_more(storage: Storage, queue: optuna.Study) -> None:
    queue.enqueue_trial({"x": 99})


@pytest.mark.parametrize("change", [_release, _complete, _report, _finish_out_of_order, _enqueue_more])
def test_trials_read_twice_are_what_the_database_holds(
    storage: Storage, queue: optuna.Study, change: Callable[[Storage, optuna.Study], None]
) -> None:
    claim(storage)
    storage.trials.get_all_trials(queue._study_id)
    change(storage, queue)
    assert storage.trials.get_all_trials(queue._study_id) == storage.optuna.get_all_trials(queue._study_id)


def test_other_trials_are_read_when_a_trial_begins_and_then_only_at_intervals(
    storage: Storage, queue: optuna.Study
) -> None:
    study = storage.load_study(STUDY)
    storage.trials.fresh_s = 3600.0
    study.get_trials()
    claimed = claim(storage)
    assert study.get_trials()[0].state == TrialState.WAITING
    storage.open_trial(study, claimed.trial_id)
    assert study.get_trials()[0].state == TrialState.RUNNING


def draw_and_report(trial: optuna.Trial, value: float) -> None:
    trial.suggest_float("rate", 1e-4, 1.0, log=True)
    trial.suggest_categorical("optimizer", ["adam", "sgd"])
    trial.report(value, step=1)


@pytest.mark.parametrize("value", [0.25, math.inf, -math.inf, math.nan])
def test_what_is_written_is_what_optuna_reads(storage: Storage, queue: optuna.Study, value: float) -> None:
    study, claims = storage.load_study(STUDY), [claim(storage), claim(storage)]
    trials = [storage.open_trial(study, claimed.trial_id) for claimed in claims]
    for trial in trials:
        draw_and_report(trial, value)
    for trial, claimed in zip(trials, claims, strict=True):
        stored = storage.optuna.get_trial(claimed.trial_id)
        assert stored.params == trial.params
        assert stored.intermediate_values == pytest.approx({1: value}, nan_ok=True)


def test_epochs_and_their_values_are_written_together_once_and_never_to_a_finished_trial(
    storage: Storage, queue: optuna.Study
) -> None:
    first, second = claim(storage), claim(storage)

    def epoch(claimed: Claim, number: int, value: float) -> EpochRecord:
        return EpochRecord(
            trial_id=claimed.trial_id,
            epoch=number,
            metrics={"val_accuracy": 0.0 if math.isnan(value) else value},
            value=value,
        )

    add_epochs(storage, [epoch(first, 1, 0.5), epoch(second, 1, 0.4), epoch(first, 2, math.nan)])
    finish(storage, first, Result(outcome="complete", value=0.5))
    add_epochs(storage, [epoch(first, 1, 0.9), epoch(first, 3, 0.9), epoch(second, 1, 0.9), epoch(second, 2, 0.6)])
    assert [row.metrics["val_accuracy"] for row in read_epochs(storage, second.trial_id)] == [0.4, 0.6]
    reported = [storage.optuna.get_trial(claimed.trial_id).intermediate_values for claimed in (first, second)]
    assert reported[0] == pytest.approx({1: 0.5, 2: math.nan}, nan_ok=True)
    assert reported[1] == {1: 0.4, 2: 0.6}


def test_a_result_is_recorded_with_its_attributes_which_replace_earlier_ones(
    storage: Storage, queue: optuna.Study
) -> None:
    claimed = claim(storage)
    for key, value in {"reason": "first", "seed": 1}.items():
        storage.optuna.set_trial_user_attr(claimed.trial_id, key, value)
    finish(storage, claimed, Result(outcome="complete", value=0.5, attributes={"seed": 2, "worker": "w"}))
    stored = storage.optuna.get_trial(claimed.trial_id)
    assert (stored.state, stored.value) == (TrialState.COMPLETE, 0.5)
    assert stored.user_attrs == {"reason": "first", "seed": 2, "worker": "w"}
    assert stored.datetime_start is not None and stored.duration is not None


def test_a_finished_trial_keeps_its_result_and_takes_no_report(storage: Storage, queue: optuna.Study) -> None:
    claimed = claim(storage)
    finish(storage, claimed, Result(outcome="complete", value=0.5))
    with pytest.raises(UpdateFinishedTrialError):
        storage.trials.set_trial_intermediate_value(claimed.trial_id, 1, 0.5)
    with storage.engine.begin() as connection:
        end_trial(connection, claimed.trial_id, TrialState.FAIL, None, {"seed": 1})
    stored = storage.optuna.get_trial(claimed.trial_id)
    assert (stored.state, stored.value) == (TrialState.COMPLETE, 0.5)
    assert not stored.intermediate_values and not stored.user_attrs


def test_parameters_that_are_drawn_together_are_written_together(storage: Storage, queue: optuna.Study) -> None:
    study = storage.load_study(STUDY)
    storage.open_trial(study, claim(storage).trial_id).suggest_float("y", 0, 1)  # Makes the parameter known.
    claimed = claim(storage)
    trial = storage.open_trial(study, claimed.trial_id)
    with storage.drawing():
        drawn = trial.suggest_float("y", 0, 1), trial.suggest_int("z", 0, 9)
        assert "y" not in storage.optuna.get_trial(claimed.trial_id).params
    assert storage.optuna.get_trial(claimed.trial_id).params == {"y": drawn[0], "z": drawn[1]} == trial.params


def test_parameters_that_an_outage_held_back_are_written_with_the_next(
    storage: Storage, queue: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = storage.load_study(STUDY)
    storage.open_trial(study, claim(storage).trial_id).suggest_float("y", 0, 1)
    claimed = claim(storage)
    trial = storage.open_trial(study, claimed.trial_id)

    def away() -> None:
        raise StorageAway("the database does not answer")

    with monkeypatch.context() as outage:
        outage.setattr(storage.trials, "write_held", away)
        with pytest.raises(StorageAway), storage.drawing():
            drawn = trial.suggest_float("y", 0, 1)
    with storage.drawing():
        assert trial.suggest_float("y", 0, 1) == drawn
    assert storage.optuna.get_trial(claimed.trial_id).params == {"y": drawn}


def test_setting_a_rung_makes_the_rungs_of_other_processes_read(storage: Storage, queue: optuna.Study) -> None:
    storage.trials.fresh_s = 3600
    own, other = claim(storage), claim(storage)
    storage.trials.get_all_trials(queue._study_id)
    storage.optuna.set_trial_system_attr(other.trial_id, "completed_rung_0", 0.5)
    assert not any(
        trial.system_attrs.get("completed_rung_0") for trial in storage.trials.get_all_trials(queue._study_id)
    )
    storage.trials.set_trial_system_attr(own.trial_id, "completed_rung_0", 0.4)
    trials = storage.trials.get_all_trials(queue._study_id)
    assert [trial.system_attrs.get("completed_rung_0") for trial in trials[:2]] == [0.4, 0.5]


def test_a_queue_is_filled_as_optuna_enqueues_one_trial(storage: Storage, queue: optuna.Study) -> None:
    fixed: list[dict[str, object]] = [{"x": 0.5, "y": "relu"}, {}, {"x": 1}]
    for params in fixed:
        queue.enqueue_trial(params)
    existing: list[dict[str, object]] = [{}] * (WAITING + len(fixed))
    for _ in range(2):
        storage.trials.fill_queue(queue._study_id, [*existing, *fixed])
    trials = storage.optuna.get_all_trials(queue._study_id)[WAITING:]
    one_by_one, at_once = trials[: len(fixed)], trials[len(fixed) :]
    assert [trial.number for trial in trials] == list(range(WAITING, WAITING + 2 * len(fixed)))
    for ours, theirs in zip(at_once, one_by_one, strict=True):
        ours.number, ours._trial_id = theirs.number, theirs._trial_id
        assert ours == theirs


def test_a_space_that_changed_is_refused(storage: Storage, queue: optuna.Study) -> None:
    study = storage.load_study(STUDY)
    storage.open_trial(study, claim(storage).trial_id).suggest_categorical("optimizer", ["adam", "sgd"])
    with pytest.raises(ValueError, match="CategoricalDistribution"):
        storage.open_trial(study, claim(storage).trial_id).suggest_categorical("optimizer", ["adam"])


def test_waiting_trials_are_not_read_again(storage: Storage, queue: optuna.Study) -> None:
    first = storage.trials.get_all_trials(queue._study_id, deepcopy=False)
    claim(storage)
    again: list[FrozenTrial] = storage.trials.get_all_trials(queue._study_id, deepcopy=False)
    assert [trial is before for trial, before in zip(again, first, strict=True)] == [False] + [True] * (WAITING - 1)


def test_the_trials_that_changed_are_read_in_the_transaction_that_finds_them(
    storage: Storage, queue: optuna.Study
) -> None:
    storage.trials.read_now(queue._study_id)
    claimed = claim(storage)
    begun: list[object] = []
    event.listen(storage.reader, "begin", begun.append)
    storage.trials.read_now(queue._study_id)
    assert storage.trials.get_all_trials(queue._study_id)[claimed.number].state == TrialState.RUNNING
    # `get_all_trials` reads once more, because this process keeps nothing for fresh.
    assert len(begun) == 2


def test_a_claim_reads_one_row_however_many_trials_wait(storage: Storage, queue: optuna.Study) -> None:
    statements: list[str] = []
    event.listen(storage.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    claim(storage)
    reads = [statement for statement in statements if "trials.state" in statement and "SELECT" in statement]
    assert len(reads) == 1 and "LIMIT" in reads[0]
