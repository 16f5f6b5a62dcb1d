"""A study read from the database into data frames: all that the report is made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial
from sqlalchemy import select

from search import names
from search.report.metric import Metric
from search.stage.pinned import PinnedStage
from search.stage.snapshot import StageSnapshot, stage_snapshot, stage_trials, trial_state
from search.store.find import find_study
from search.store.history import Command, read_commands
from search.store.optuna_private import database_id
from search.store.records import StageRecord, StudyRecord, read_stages
from search.store.seal import Look, looks, looks_by_others
from search.store.storage import Storage
from search.store.tables import epochs as epoch_table
from search.verdict.champion import Finalist, read_finalists


@dataclass(frozen=True, kw_only=True, eq=False)
class StageFacts:
    """A stage's trials. Rows of all frames are found by the trial's number, the one that people see."""

    record: StageRecord
    pinned: PinnedStage
    snapshot: StageSnapshot
    optuna_trials: tuple[FrozenTrial, ...]
    trials: pd.DataFrame
    """A row per trial: `state`, `value` (of a pruned trial its best epoch's), `val_accuracy`, `epochs`,
    `epochs_planned`, `duration_s`, `started_at`, `finished_at`, `seed`, `base`, `parameters`, `device`, `reason`."""
    params: pd.DataFrame
    """A row per trial, a column per searched parameter; missing where a condition rules the parameter out."""
    epochs: pd.DataFrame
    """A row per finished epoch: `trial`, `epoch` and the metrics of `models.training.metrics.EpochMetrics`."""

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def complete(self) -> pd.DataFrame:
        """Rows of `trials` that ran to their end."""
        return self.trials[self.trials["state"] == "complete"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyFacts:
    """A study: its search stages in order, its confirmation once there is one, and every look at the test set."""

    record: StudyRecord
    metric: Metric
    stages: tuple[StageFacts, ...]
    confirmation: StageFacts | None
    looks: tuple[Look, ...]
    looks_by_others: tuple[Look, ...]
    """Of other studies at the same test images."""
    commands: tuple[Command, ...]
    """Every `search.run` that worked on it."""

    @property
    def all_stages(self) -> tuple[StageFacts, ...]:
        return self.stages if self.confirmation is None else (*self.stages, self.confirmation)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """All stages' `trials`, with the columns `stage` and `trial` in front."""
        frames = [(stage.name, stage.trials.reset_index(names="trial")) for stage in self.all_stages]
        return _stack(frames, ["trial", *_TRIAL_COLUMNS])

    @cached_property
    def configs(self) -> pd.DataFrame:
        """The whole configuration of every trial that was begun: `stage`, `trial`, and a column per field."""
        return _stack([(stage.name, _configs(stage)) for stage in self.all_stages], ["trial"])

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """All stages' `epochs`, with the column `stage` in front."""
        return _stack([(stage.name, stage.epochs) for stage in self.all_stages], ["trial", "epoch"])

    @property
    def searched(self) -> list[str]:
        """Fields that any stage varied, in the order in which they were first searched."""
        every = (parameter.name for stage in self.stages for space in stage.pinned.spaces for parameter in space)
        return list(dict.fromkeys(every))

    @cached_property
    def finalists(self) -> list[Finalist]:
        """Best mean first; empty before the confirmation has a complete run."""
        if self.confirmation is None or self.confirmation.complete.empty:
            return []
        return read_finalists(self.confirmation.record, self.confirmation.optuna_trials)

    @property
    def test(self) -> dict[str, Any] | None:
        """What the last look that came to a result saw; None while the test set is sealed."""
        results = [look.result for look in self.looks if look.result]
        return results[-1] if results else None


def read_facts(storage: Storage, study: str) -> StudyFacts:
    """Read a study. Raises UserError if there is none of that name."""
    record = find_study(storage, study)
    stages = [_read_stage(storage, stage) for stage in read_stages(storage, study)]
    return StudyFacts(
        record=record,
        metric=Metric(name=record.definition["metric"], images=record.data["val"]),
        stages=tuple(stage for stage in stages if not stage.pinned.is_final),
        confirmation=next((stage for stage in stages if stage.pinned.is_final), None),
        looks=tuple(looks(storage, study)),
        looks_by_others=tuple(looks_by_others(storage, record)),
        commands=tuple(read_commands(storage, study)),
    )


def _read_stage(storage: Storage, record: StageRecord) -> StageFacts:
    pinned = PinnedStage.from_json(record.pinned)
    trials = stage_trials(storage, record)
    index = pd.Index([trial.number for trial in trials], name="trial", dtype=int)
    return StageFacts(
        record=record,
        pinned=pinned,
        snapshot=stage_snapshot(storage, record),
        optuna_trials=tuple(trials),
        trials=pd.DataFrame([_trial_row(trial, pinned) for trial in trials], index=index, columns=_TRIAL_COLUMNS),
        params=pd.DataFrame([t.params for t in trials], index=index, columns=_param_names(pinned), dtype=object),
        epochs=_read_epochs(storage, trials),
    )


_TRIAL_COLUMNS = [
    "state", "value", "val_accuracy", "epochs", "epochs_planned", "duration_s", "checkpoint_s", "service_s",
    "started_at", "finished_at", "seed", "base", "parameters", "device", "reason",
]  # fmt: skip


def _trial_row(trial: FrozenTrial, pinned: PinnedStage) -> dict[str, Any]:
    attributes = trial.user_attrs
    return {
        "state": trial_state(trial),
        "value": _value(trial, maximize=pinned.direction == "maximize"),
        "val_accuracy": attributes.get(names.VAL_ACCURACY, math.nan),
        "epochs": len(trial.intermediate_values),
        "epochs_planned": attributes.get(names.CONFIG, {}).get("epochs", pinned.epochs),
        "duration_s": attributes.get(names.DURATION_S, math.nan),
        "checkpoint_s": attributes.get(names.SPENT_S, {}).get("checkpoint", math.nan),
        "service_s": attributes.get(names.SPENT_S, {}).get("service", math.nan),
        "started_at": pd.Timestamp(trial.datetime_start) if trial.datetime_start else pd.NaT,
        "finished_at": pd.Timestamp(trial.datetime_complete) if trial.datetime_complete else pd.NaT,
        "seed": attributes.get(names.SEED),
        "base": pinned.queue[trial.number].get(names.BASE, trial.params.get(names.BASE, 0)),
        "parameters": attributes.get(names.PARAMETERS),
        "device": attributes.get(names.DEVICE),
        "reason": attributes.get(names.REASON),
    }


def _value(trial: FrozenTrial, *, maximize: bool) -> float:
    if trial.state.name == "COMPLETE":
        assert trial.value is not None
        return trial.value
    reported = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
    return (max if maximize else min)(reported, default=math.nan)


def _param_names(pinned: PinnedStage) -> list[str]:
    names_in_order = dict.fromkeys(parameter.name for space in pinned.spaces for parameter in space)
    base = [names.BASE] if len(pinned.bases) > 1 and not pinned.is_final else []
    return [*names_in_order, *base]


def _read_epochs(storage: Storage, trials: Sequence[FrozenTrial]) -> pd.DataFrame:
    numbers = {database_id(trial): trial.number for trial in trials}
    query = (
        select(epoch_table.c.trial_id, epoch_table.c.metrics)
        .where(epoch_table.c.trial_id.in_(numbers))
        .order_by(epoch_table.c.trial_id, epoch_table.c.epoch)
    )
    with storage.reader.begin() as connection:
        rows = [{"trial": numbers[trial_id], **metrics} for trial_id, metrics in connection.execute(query)]
    return pd.DataFrame(rows, columns=None if rows else ["trial", "epoch"])


def _configs(stage: StageFacts) -> pd.DataFrame:
    begun = [trial for trial in stage.optuna_trials if names.CONFIG in trial.user_attrs]
    return pd.DataFrame([{"trial": trial.number, **trial.user_attrs[names.CONFIG]} for trial in begun], dtype=object)


def _stack(frames: Sequence[tuple[str, pd.DataFrame]], columns: Sequence[str]) -> pd.DataFrame:
    """One below the other; `columns` are those of a study without any row."""
    labelled = [frame.assign(stage=name) for name, frame in frames if not frame.empty]
    if not labelled:
        return pd.DataFrame(columns=["stage", *columns])
    stacked = pd.concat(labelled, ignore_index=True)
    return stacked[["stage", *stacked.columns.drop("stage")]]
