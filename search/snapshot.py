"""Where a study stands, read from the database: what `run` shows while it runs, and what `status` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from search import names
from search.pinning import PinnedStage
from search.records import StageRecord, WorkerRecord, read_stages, read_workers
from search.storage import Storage


@dataclass(frozen=True, kw_only=True)
class StageSnapshot:
    """Trials of a stage by what became of them; the counts add up to `planned`."""

    name: str
    planned: int
    complete: int
    pruned: int
    failed: int
    infeasible: int
    skipped: int
    running: int
    waiting: int
    best: float | None
    """Best value of the study's metric among complete trials; for the confirmation, the best single run."""
    best_trial: int | None
    epochs_done: int
    """By finished and running trials."""
    epochs_planned: int
    """If no trial were pruned."""

    @property
    def finished(self) -> int:
        return self.planned - self.running - self.waiting


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A study at one moment."""

    study: str
    stages: tuple[StageSnapshot, ...]
    workers: tuple[WorkerRecord, ...]


def take_snapshot(storage: Storage, study: str) -> Snapshot:
    """All pinned stages of a study, and who works on it."""
    return Snapshot(
        study=study,
        stages=tuple(stage_snapshot(storage, record) for record in read_stages(storage, study)),
        workers=tuple(read_workers(storage, study)),
    )


def stage_snapshot(storage: Storage, record: StageRecord) -> StageSnapshot:
    """One pinned stage; before its Optuna study is made, all its trials are waiting."""
    pinned = PinnedStage.from_json(record.pinned)
    trials = stage_trials(storage, record)
    kinds = [trial_state(trial) for trial in trials]
    best = best_trial(trials, maximize=pinned.direction == "maximize")
    return StageSnapshot(
        name=record.name,
        planned=pinned.trials,
        complete=kinds.count("complete"),
        pruned=kinds.count("pruned"),
        failed=kinds.count("failed"),
        infeasible=kinds.count("infeasible"),
        skipped=kinds.count("skipped"),
        running=kinds.count("running"),
        waiting=pinned.trials - sum(kind != "waiting" for kind in kinds),
        best=best.value if best else None,
        best_trial=best.number if best else None,
        epochs_done=sum(len(trial.intermediate_values) for trial in trials),
        epochs_planned=pinned.trials * pinned.epochs,
    )


def stage_trials(storage: Storage, record: StageRecord) -> list[FrozenTrial]:
    """A stage's trials by number; read-only, since they may be Optuna's own cached objects."""
    try:
        trials: list[FrozenTrial] = storage.load_study(record.optuna_study).get_trials(deepcopy=False)
    except KeyError:
        return []
    return trials


def best_trial(trials: Sequence[FrozenTrial], *, maximize: bool) -> FrozenTrial | None:
    """The complete trial with the best value; of equal ones the first."""
    ranked = rank_trials(trials, maximize=maximize)
    return ranked[0] if ranked else None


def rank_trials(trials: Sequence[FrozenTrial], *, maximize: bool) -> list[FrozenTrial]:
    """Complete trials, best first; of equal ones the first to be planned."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]

    def key(trial: FrozenTrial) -> tuple[float, int]:
        assert trial.value is not None
        return (-trial.value if maximize else trial.value), trial.number

    return sorted(complete, key=key)


def trial_state(trial: FrozenTrial) -> str:
    """What became of a trial, in the words that people see."""
    if trial.state == TrialState.PRUNED:
        return "infeasible" if trial.user_attrs.get(names.INFEASIBLE) else "pruned"
    if trial.state == TrialState.FAIL:
        return "skipped" if trial.user_attrs.get(names.SKIPPED) else "failed"
    return {
        TrialState.COMPLETE: "complete",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }[optuna.trial.TrialState(trial.state)]
