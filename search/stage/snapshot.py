"""The progress of a study, read from the database for `search.run` and `search.status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from search import names
from search.store.early_end import EarlyEnd
from search.store.records import StageRecord, WorkerRecord, read_stages, read_workers
from search.store.states import MARKS, STATUS_OF_STATE, TrialStatus
from search.store.storage import Storage
from search.store.trial_counts import epochs_per_s, tally


@dataclass(frozen=True, kw_only=True)
class StageSnapshot:
    """The number of a stage's trials in each state; the counts add up to `planned`."""

    name: str
    planned: int
    complete: int
    pruned: int
    failed: int
    out_of_time: int
    """Cut by the time budget in mid-training."""
    infeasible: int
    skipped: int
    running: int
    waiting: int
    best: float | None
    """Best value of the study's metric among complete trials; None before the first."""
    best_trial: int | None
    """Number of the trial with the best value."""
    epochs_done: int
    """Number of epochs that finished and running trials have completed."""
    epochs_planned: int
    """Number of epochs of the stage if no trial were pruned."""
    reported: float | None = None
    """Best value that a trial has reported after an epoch; None if a trial is complete."""
    reported_trial: int | None = None
    """Number of the trial that reported it."""
    early_end: EarlyEnd | None = None
    """Why the stage begins no more trials; None while it does not end early."""

    @property
    def finished(self) -> int:
        """Number of trials that have ended or were skipped."""
        return self.planned - self.running - self.waiting


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The progress of a study at one moment."""

    study: str
    stages: tuple[StageSnapshot, ...]
    workers: tuple[WorkerRecord, ...]
    epochs_per_s: float | None = None
    """Recent speed of all workers together; None while too few epochs are finished."""


def take_snapshot(storage: Storage, study: str) -> Snapshot:
    """Read the progress of a study's pinned stages and its workers; cheap enough for every second."""
    records = read_stages(storage, study)
    return Snapshot(
        study=study,
        stages=tuple(_stage_snapshots(storage, records)),
        workers=tuple(read_workers(storage, study)),
        epochs_per_s=epochs_per_s(storage, [record.optuna_study for record in records]),
    )


def stage_snapshot(storage: Storage, record: StageRecord) -> StageSnapshot:
    """Read the progress of one pinned stage; before its Optuna study exists, all trials are waiting."""
    return next(_stage_snapshots(storage, [record]))


def _stage_snapshots(storage: Storage, records: Sequence[StageRecord]) -> Iterator[StageSnapshot]:
    """Read the progress of several stages of one study."""
    stages = [record.pinned for record in records]
    maximize = any(pinned.direction == "maximize" for pinned in stages)
    tallies = tally(storage, [record.optuna_study for record in records], maximize=maximize)
    for record, pinned in zip(records, stages, strict=True):
        found = tallies[record.optuna_study]
        kinds = Counter(found.kinds)
        yield StageSnapshot(
            name=record.name,
            planned=pinned.trials,
            complete=kinds["complete"],
            pruned=kinds["pruned"],
            failed=kinds["failed"],
            out_of_time=kinds["out of time"],
            infeasible=kinds["infeasible"],
            skipped=kinds["skipped"],
            running=kinds["running"],
            waiting=pinned.trials - sum(count for kind, count in kinds.items() if kind != "waiting"),
            best=found.best,
            best_trial=found.best_trial,
            reported=found.reported,
            reported_trial=found.reported_trial,
            epochs_done=found.epochs,
            epochs_planned=pinned.trials * pinned.epochs * len(pinned.folds_of(0)),
            early_end=pinned.early_end,
        )


def early_ends(stages: Sequence[StageSnapshot]) -> list[str]:
    """A line for each stage that ended early."""
    return [f"{stage.name} {stage.early_end.line()}" for stage in stages if stage.early_end]


def stage_trials(storage: Storage, record: StageRecord) -> list[FrozenTrial]:
    """A stage's trials in order of their numbers. Do not change them: they may be Optuna's cached objects."""
    try:
        trials: list[FrozenTrial] = storage.load_study(record.optuna_study).get_trials(deepcopy=False)
    except KeyError:
        return []
    return trials


def is_over(trial: FrozenTrial, record: StageRecord) -> bool:
    """Whether a trial has ended for good: a paused one may continue until its stage is closed."""
    return trial.state.is_finished() and (names.PAUSED not in trial.user_attrs or record.state == "closed")


def has_result(trials: Sequence[FrozenTrial]) -> bool:
    """Whether a stage has a result to pass on: a complete trial, or one that paused."""
    return any(trial.state == TrialState.COMPLETE or names.PAUSED in trial.user_attrs for trial in trials)


def rank_trials(trials: Sequence[FrozenTrial], *, maximize: bool) -> list[FrozenTrial]:
    """The complete trials, best first; of trials with equal values, the one with the lower number first."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]

    def key(trial: FrozenTrial) -> tuple[float, int]:
        assert trial.value is not None
        return (-trial.value if maximize else trial.value), trial.number

    return sorted(complete, key=key)


def trial_status(trial: FrozenTrial) -> TrialStatus:
    """The status of a trial that people see."""
    for (state, mark), status in MARKS.items():
        if trial.state.name == state and trial.user_attrs.get(mark):
            return status
    return STATUS_OF_STATE[trial.state.name]
