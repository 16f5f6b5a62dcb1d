"""Trials that pause at rungs: they keep their checkpoint, continue from it, and end as if they had never paused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from search import names
from search.stage.pinning import pin_search
from search.store.records import read_epochs
from search.store.storage import Storage, open_storage
from search.trials.artifacts import SharedFolder
from search.trials.claim_trials import claim_continuing, claim_trials
from search.trials.end_trials import record_result
from search.trials.run_trial import run_trial
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun
from search.trials.workload import WorkloadBuilder
from studies.definition import choice
from tests.search.conftest import CPU, OpenStage, open_stage, settings_at, tiny

RATES = {"learning_rate": FloatDistribution(1e-5, 1e-2, log=True)}


def context_at(home: Path, storage: Storage, workloads: WorkloadBuilder) -> TrialContext:
    return TrialContext(
        storage=storage,
        workloads=workloads,
        device=CPU,
        artifacts=SharedFolder(home),
        on_epoch=lambda claim, metrics, config: None,
    )


@pytest.fixture
def context(sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path) -> TrialContext:
    return context_at(tmp_path, sqlite, digits)


def train_all(stage: OpenStage, context: TrialContext) -> list[int]:
    """Train as one worker does; returns the numbers of the trials in the order of their claims."""
    return [number for _, number in train_pool([stage], context)]


def train_pool(stages: Sequence[OpenStage], context: TrialContext) -> list[tuple[str, int]]:
    """Train the trials of open stages as one worker does; returns stage and number in the order of their claims."""
    order = []
    while (claimed := _claim(stages, context)) is not None:
        stage, run = claimed
        record_result(context, stage.record, run.claim, run_trial(run))
        order.append((stage.pinned.name, run.claim.number))
    return order


def _claim(stages: Sequence[OpenStage], context: TrialContext) -> tuple[OpenStage, TrialRun] | None:
    continuing = claim_continuing([stage.record for stage in stages], context.storage, "me")
    for stage in stages:
        if continuing is not None and continuing.optuna_study != stage.record.optuna_study:
            continue
        study = stage.storage.load_study(stage.record.optuna_study)
        claimed = [] if continuing is None else [continuing]
        for run in claim_trials(stage.pinned, study, context, owner="me", gang_size=1, claimed=claimed):
            return stage, run
    return None


def trials_of(stage: OpenStage) -> list[FrozenTrial]:
    return stage.storage.load_study(stage.record.optuna_study).get_trials()


def test_trials_pause_at_rungs_continue_and_never_train_an_epoch_twice(sqlite: Storage, context: TrialContext) -> None:
    stage = open_stage(sqlite, trials=8, epochs=4, pruner="asha", sampler="random", space=RATES)
    assert stage.pinned.rungs == (1, 2)

    order = train_all(stage, context)

    trials = sqlite.load_study(stage.record.optuna_study).get_trials()
    assert len(order) > 8  # Some were claimed twice, because they paused and continued.
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials:
        epochs = [epoch.epoch for epoch in read_epochs(sqlite, trial._trial_id)]
        assert epochs == list(range(1, trial.user_attrs[names.EPOCHS_DONE] + 1))
        assert len(epochs) == (4 if trial.state == TrialState.COMPLETE else trial.user_attrs[names.PAUSED])
    firsts = sorted(trial.intermediate_values[1] for trial in trials)
    assert all(trial.intermediate_values[1] >= firsts[4] for trial in trials if trial.state == TrialState.COMPLETE)


def test_a_trial_that_paused_ends_with_the_numbers_of_one_that_never_paused(
    sqlite: Storage, context: TrialContext, digits: WorkloadBuilder, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"trials": 6, "epochs": 4, "sampler": "random", "space": RATES}
    paused = open_stage(sqlite, pruner="asha", **changes)
    order = train_all(paused, context)
    trials = sqlite.load_study(paused.record.optuna_study).get_trials()
    resumed = next(t for t in trials if t.state == TrialState.COMPLETE and order.count(t.number) > 1)

    other = open_storage(settings_at(tmp_path / "other").storage_url, create=True)
    straight = open_stage(other, pruner="none", **changes)
    train_all(straight, context_at(tmp_path / "other", other, digits))

    again = other.load_study(straight.record.optuna_study).get_trials()[resumed.number]
    other.close()
    assert again.params == resumed.params
    assert again.intermediate_values == resumed.intermediate_values
    assert again.value == resumed.value


def test_a_paused_trial_keeps_its_checkpoint_until_it_ends(
    sqlite: Storage, context: TrialContext, tmp_path: Path
) -> None:
    stage = open_stage(sqlite, trials=2, epochs=2, pruner="asha", sampler="random", space=RATES)
    study = sqlite.load_study(stage.record.optuna_study)
    (run,) = claim_trials(stage.pinned, study, context, owner="me", gang_size=1, claimed=[])
    record_result(context, stage.record, run.claim, run_trial(run))
    assert [path.name for path in tmp_path.rglob("*checkpoint.pt")] == ["0-checkpoint.pt"]

    train_all(stage, context)

    by_number = {trial.number: trial.state for trial in study.get_trials()}
    kept = {path.parent.name for path in tmp_path.rglob("*checkpoint.pt")}
    assert kept == {f"one-{number}" for number, state in by_number.items() if state == TrialState.PRUNED}


def test_a_trial_whose_checkpoint_is_gone_trains_again_and_reports_no_epoch_twice(
    sqlite: Storage, context: TrialContext, tmp_path: Path
) -> None:
    stage = open_stage(sqlite, trials=4, epochs=4, pruner="asha", sampler="random", space=RATES)
    study = sqlite.load_study(stage.record.optuna_study)
    (run,) = claim_trials(stage.pinned, study, context, owner="me", gang_size=1, claimed=[])
    record_result(context, stage.record, run.claim, run_trial(run))
    for checkpoint in tmp_path.rglob("*checkpoint.pt"):
        checkpoint.unlink()

    train_all(stage, context)

    for trial in study.get_trials():
        epochs = [epoch.epoch for epoch in read_epochs(sqlite, trial._trial_id)]
        assert epochs == list(range(1, len(epochs) + 1))


def test_a_space_that_varies_the_epochs_has_rungs_up_to_the_longest(sqlite: Storage) -> None:
    stage = open_stage(sqlite, trials=4, epochs=1, pruner="asha", space={"epochs": choice(1, 8, 16)})
    assert stage.pinned.rungs == (1, 2, 4, 8)


def test_a_trial_that_paused_in_an_earlier_stage_continues_while_the_next_one_extends_it(
    sqlite: Storage, context: TrialContext
) -> None:
    better = {"learning_rate": FloatDistribution(1e-2, 5e-2, log=True)}
    begun = tiny(trials=4, epochs=4, pruner="asha", sampler="random", space=better)
    worse = {"dropout": choice(0.0, 0.1), "learning_rate": FloatDistribution(1e-8, 1e-7, log=True)}
    wider = replace(begun.stages[0], name="two", trials=8, extends=True, space=worse)
    study = replace(begun, stages=(*begun.stages, wider))
    first = open_stage(sqlite, pin_search(study, 0, study.stages[0], [study.config]))
    train_all(first, context)
    paused = {trial.number for trial in trials_of(first) if names.PAUSED in trial.user_attrs}

    second = open_stage(sqlite, pin_search(study, 1, wider, [study.config]), position=1)
    order = train_pool([first, second], context)

    continued = {number for stage, number in order if stage == "one"}
    assert continued and continued <= paused
    every = [*trials_of(first), *trials_of(second)]
    for trial in every:
        epochs = [epoch.epoch for epoch in read_epochs(sqlite, trial._trial_id)]
        assert epochs == list(range(1, trial.user_attrs[names.EPOCHS_DONE] + 1))
    # Trials of both stages meet at the rungs: none that is below the median of all goes on.
    median = sorted(trial.intermediate_values[1] for trial in every)[len(every) // 2]
    assert all(trial.intermediate_values[1] >= median for trial in every if trial.user_attrs[names.EPOCHS_DONE] > 1)
    assert any(trial.state == TrialState.COMPLETE for trial in every)
