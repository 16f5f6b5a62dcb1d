"""The counts that the database makes agree with Optuna's."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import event

from search import names
from search.stage.snapshot import rank_trials, stage_trials, take_snapshot, trial_status
from search.store.claims import Result, finish
from search.store.records import EpochRecord, add_epochs
from search.store.states import Outcome
from search.store.storage import Storage
from search.store.trial_counts import epochs_per_s, tally
from tests.search.conftest import OpenStage, open_stage


def tell(stage: OpenStage, outcome: Outcome, value: float | None = None, **attributes: Any) -> None:
    finish(stage.storage, stage.claim(), Result(outcome=outcome, value=value, attributes=attributes))


@pytest.mark.parametrize("maximize", [True, False])
def test_the_counts_and_the_best_are_those_of_optuna(storage: Storage, maximize: bool) -> None:
    stage = open_stage(storage, trials=11)
    for value in (0.7, 0.9, 0.9, 0.4, 0.4):
        tell(stage, "complete", value)
    tell(stage, "pruned", **{names.INFEASIBLE: True})
    tell(stage, "pruned")
    tell(stage, "pruned", **{names.OUT_OF_TIME: True})
    tell(stage, "failed", **{names.SKIPPED: True})
    running = stage.claim()
    storage.optuna.set_trial_user_attr(running.trial_id, names.INFEASIBLE, True)  # Marked, but not finished yet.
    trials = stage_trials(storage, stage.record)
    found = tally(storage, [stage.record.optuna_study], maximize=maximize)[stage.record.optuna_study]
    best = rank_trials(trials, maximize=maximize)[0]
    assert found.kinds == Counter(trial_status(trial) for trial in trials)
    assert found.kinds["waiting"] == 1
    assert (found.best, found.best_trial) == (best.value, best.number)


@pytest.mark.parametrize(("maximize", "value", "number"), [(True, 0.8, 1), (False, 0.2, 0)])
def test_until_a_trial_is_complete_the_best_reported_value_is_read(
    storage: Storage, maximize: bool, value: float, number: int
) -> None:
    stage = open_stage(storage, trials=3)
    claims = [stage.claim() for _ in range(3)]
    reported = ((0.2, 0.4), (0.8, 0.6), (math.inf, math.nan))
    add_epochs(storage, [
        EpochRecord(trial_id=claim.trial_id, epoch=epoch, metrics={}, value=one)
        for claim, values in zip(claims, reported, strict=True)
        for epoch, one in enumerate(values, start=1)
    ])  # fmt: skip
    finish(storage, claims[1], Result(outcome="pruned", value=None, attributes={names.PAUSED: True}))
    (found,) = tally(storage, [stage.record.optuna_study], maximize=maximize).values()
    assert (found.best, found.reported, found.reported_trial) == (None, value, number)
    finish(storage, claims[0], Result(outcome="complete", value=0.4, attributes={}))
    (found,) = tally(storage, [stage.record.optuna_study], maximize=maximize).values()
    assert (found.best, found.best_trial, found.reported) == (0.4, 0, None)


def test_the_pace_is_measured_over_the_last_minutes_of_this_study_alone(storage: Storage, monkeypatch) -> None:
    stage = open_stage(storage, trials=2)
    claim = stage.claim()
    now = time.time()
    assert epochs_per_s(storage, [stage.record.optuna_study]) is None
    for epoch, ago_s in enumerate((7200, 100, 75, 50, 25), start=1):
        add_epochs(storage, [
            EpochRecord(trial_id=trial_id, epoch=epoch, metrics={}, value=0.5, finished_at=now - ago_s)
            for trial_id in (claim.trial_id, 10_000)  # And another study's.
        ])  # fmt: skip
    monkeypatch.setattr(time, "time", lambda: now)
    assert epochs_per_s(storage, [stage.record.optuna_study]) == pytest.approx(3 / 100, rel=0.1)
    assert epochs_per_s(storage, ["another"]) is None


def test_a_snapshot_takes_the_same_few_statements_however_large_the_study(sqlite: Storage) -> None:
    def statements(trials: int, position: int) -> int:
        stage = open_stage(sqlite, position=position, trials=trials)
        for epoch in range(trials):
            add_epochs(sqlite, [EpochRecord(trial_id=stage.claim().trial_id, epoch=epoch, metrics={}, value=0.5)])
        run: list[str] = []

        def count(*arguments: Any) -> None:
            run.append(arguments[2])

        event.listen(sqlite.engine, "before_cursor_execute", count)
        take_snapshot(sqlite, "tiny")
        event.remove(sqlite.engine, "before_cursor_execute", count)
        return len(run)

    assert statements(3, 0) == statements(12, 1) <= 12
