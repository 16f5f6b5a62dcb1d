"""Counts of a stage's trials that always add up."""

from __future__ import annotations

from typing import Any

import pytest

from search import names
from search.stage.snapshot import rank_trials, stage_snapshot, stage_trials, take_snapshot
from search.store.claims import Result, finish
from search.store.records import pin_stage
from search.store.states import Outcome
from search.store.storage import Storage
from tests.search.conftest import OpenStage, open_stage

SKIPPED = {names.SKIPPED: True}
INFEASIBLE = {names.INFEASIBLE: True}


def tell(
    stage: OpenStage, outcome: Outcome, value: float | None = None, attributes: dict[str, Any] | None = None
) -> None:
    finish(stage.storage, stage.claim(), Result(outcome=outcome, value=value, attributes=attributes or {}))


def test_every_trial_is_counted_once_and_the_counts_add_up(sqlite: Storage) -> None:
    stage = open_stage(sqlite, trials=10, epochs=2)
    tell(stage, "complete", 0.5)
    tell(stage, "complete", 0.7)
    tell(stage, "pruned")
    tell(stage, "pruned", attributes=INFEASIBLE)
    tell(stage, "pruned", attributes={names.OUT_OF_TIME: True})
    tell(stage, "failed")
    tell(stage, "failed", attributes=SKIPPED)
    stage.claim()
    (shown,) = take_snapshot(sqlite, "tiny").stages
    assert (shown.complete, shown.pruned, shown.infeasible, shown.failed, shown.skipped) == (2, 1, 1, 1, 1)
    assert shown.out_of_time == 1
    assert (shown.running, shown.waiting, shown.finished, shown.planned) == (1, 2, 7, 10)
    assert (shown.best, shown.best_trial) == (0.7, 1)
    assert shown.epochs_planned == 20


def test_before_its_queue_is_filled_all_trials_of_a_stage_are_waiting(sqlite: Storage) -> None:
    stage = open_stage(sqlite, trials=4)
    unfilled = type(stage.record)(**{**vars(stage.record), "position": 1, "optuna_study": "tiny/not-yet"})
    pin_stage(sqlite, unfilled)
    shown = stage_snapshot(sqlite, unfilled)
    assert (shown.waiting, shown.finished, shown.best) == (4, 0, None)


@pytest.mark.parametrize(("maximize", "order"), [(True, [1, 0, 2]), (False, [2, 0, 1])])
def test_trials_are_ranked_and_equal_values_keep_the_order_of_numbers(
    maximize: bool, order: list[int], sqlite: Storage
) -> None:
    stage = open_stage(sqlite, trials=4)
    for value in (0.5, 0.7, 0.3):
        tell(stage, "complete", value)
    tell(stage, "pruned")
    ranked = rank_trials(stage_trials(sqlite, stage.record), maximize=maximize)
    assert [trial.number for trial in ranked] == order
