from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest
from optuna.trial import FrozenTrial
from sqlalchemy import event

from search.claims import Claim, Result, claim_next, finish, release
from search.processes import process_name
from search.storage import Storage

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
    release(storage, claim(storage))


def _complete(storage: Storage, queue: optuna.Study) -> None:
    finish(storage, claim(storage), Result(outcome="complete", value=0.5, attributes={"told": 1}))


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


def test_waiting_trials_are_not_read_again(storage: Storage, queue: optuna.Study) -> None:
    first = storage.trials.get_all_trials(queue._study_id, deepcopy=False)
    claim(storage)
    again: list[FrozenTrial] = storage.trials.get_all_trials(queue._study_id, deepcopy=False)
    assert [trial is before for trial, before in zip(again, first, strict=True)] == [False] + [True] * (WAITING - 1)


def test_a_claim_reads_one_row_however_many_trials_wait(storage: Storage, queue: optuna.Study) -> None:
    statements: list[str] = []
    event.listen(storage.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    claim(storage)
    reads = [statement for statement in statements if statement.startswith("SELECT trials.trial_id, trials.number")]
    assert len(reads) == 1 and "LIMIT" in reads[0]
