"""Trials that go back into the queue before they have ended."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import update

from search import names
from search.stage.snapshot import stage_trials
from search.store.records import read_epochs
from search.store.storage import Storage
from search.store.tables import leases
from search.trials.artifacts import SharedFolder
from search.trials.end_trials import put_back, retry_elsewhere
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun
from search.trials.workload import WorkloadBuilder
from tests.search.conftest import CPU, open_stage


def test_only_trials_that_the_worker_still_has_go_back_with_their_epochs(
    sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path
) -> None:
    stage = open_stage(sqlite, trials=3)
    study = sqlite.load_study(stage.record.optuna_study)
    context = TrialContext(
        storage=sqlite, workloads=digits, device=CPU, artifacts=SharedFolder(tmp_path),
        on_epoch=lambda claim, metrics, config: None,
    )  # fmt: skip
    context.epoch_log._next_write_at = float("inf")  # Nothing is written between.
    runs = []
    for _ in range(3):
        claim = stage.claim()
        trial = sqlite.open_trial(study, claim.trial_id)
        runs.append(TrialRun(trial=trial, claim=claim, stage=stage.pinned, context=context))
        context.epoch_log.report(trial, 1, {}, 0.5)
    with sqlite.engine.begin() as connection:
        lost = leases.c.trial_id == runs[0].claim.trial_id
        connection.execute(update(leases).where(lost).values(token="another worker's"))
    put_back(context, [run.claim for run in runs[:2]])
    retry_elsewhere(context, runs[2])
    trials = stage_trials(sqlite, stage.record)
    assert [trial.state.name for trial in trials] == ["RUNNING", "WAITING", "WAITING"]
    assert [len(read_epochs(sqlite, run.claim.trial_id)) for run in runs] == [0, 1, 1]
    assert [trial.user_attrs.get(names.FAULTS) for trial in trials] == [None, None, 1]
