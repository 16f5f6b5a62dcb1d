"""A study as data frames, read from the database: the input of the report."""

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
from search.report.metric import Metric, study_metric
from search.report.signature import read_signature
from search.settings import Settings
from search.stage.snapshot import StageSnapshot, stage_snapshot, stage_trials, trial_status
from search.store.combination_record import CombinationRecord
from search.store.find import find_study
from search.store.history import Command, read_commands
from search.store.look_result import LookResult
from search.store.optuna_private import database_id
from search.store.pinned_stage import PinnedStage
from search.store.records import StageRecord, StudyRecord, read_stages
from search.store.seal import Look, looks, looks_by_others
from search.store.storage import Storage, open_storage
from search.store.tables import epochs as epoch_table
from search.verdict.champion import Finalist, read_finalists


@dataclass(frozen=True, kw_only=True, eq=False)
class StageFacts:
    """A stage and its trials. The index of each data frame is the trial's number."""

    record: StageRecord
    pinned: PinnedStage
    snapshot: StageSnapshot
    optuna_trials: tuple[FrozenTrial, ...]
    trials: pd.DataFrame
    """A row for each trial: `state`, `value` (for a pruned trial, that of its best epoch), `val_accuracy`, `epochs`,
    `epochs_planned`, `duration_s`, `started_at`, `finished_at`, `seed`, `base`, `parameters`, `device`, `reason`."""
    params: pd.DataFrame
    """A row for each trial, a column for each searched parameter; missing where a trial does not have the parameter."""
    epochs: pd.DataFrame
    """A row for each finished epoch: `trial`, `epoch` and the metrics of `models.training.metrics.EpochMetrics`."""

    @property
    def name(self) -> str:
        """The stage's name in its study."""
        return self.record.name

    @property
    def complete(self) -> pd.DataFrame:
        """The rows of `trials` in the state `complete`."""
        return self.trials[self.trials["state"] == "complete"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyFacts:
    """A study: its search stages in order, its confirmation, and every look at the test set."""

    record: StudyRecord
    metric: Metric
    stages: tuple[StageFacts, ...]
    confirmation: StageFacts | None
    """The final stage, a confirmation or an ablation; None before it has started."""
    looks: tuple[Look, ...]
    looks_by_others: tuple[Look, ...]
    """Looks by other studies of this database at the same test images."""
    commands: tuple[Command, ...]
    """Every `search.run` command that ran the study, oldest first."""
    signature: str
    """What `search.report.signature` returned before the rest was read."""

    @property
    def all_stages(self) -> tuple[StageFacts, ...]:
        """The search stages in order, followed by the confirmation or ablation if there is one."""
        return self.stages if self.confirmation is None else (*self.stages, self.confirmation)

    @property
    def kept_combination(self) -> CombinationRecord | None:
        """The combination that is registered instead of the champion's best run, if there is one."""
        combination = self.record.champion.combination if self.record.champion else None
        return combination if combination and combination.is_kept else None

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The `trials` of all stages, with the added columns `stage` and `trial`."""
        frames = [(stage.name, stage.trials.reset_index(names="trial")) for stage in self.all_stages]
        return _stack(frames, ["trial", *_TRIAL_COLUMNS])

    @cached_property
    def configs(self) -> pd.DataFrame:
        """The configuration of every trial that started: `stage`, `trial`, and a column for each field."""
        return _stack([(stage.name, _configs(stage)) for stage in self.all_stages], ["trial"])

    @property
    def table(self) -> pd.DataFrame:
        """A row for each trial with its result and its configuration: `trials` and `configs` side by side."""
        return self.trials.merge(self.configs, on=["stage", "trial"], how="left", suffixes=("", "_set"))

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """The `epochs` of all stages, with the added column `stage`."""
        return _stack([(stage.name, stage.epochs) for stage in self.all_stages], ["trial", "epoch"])

    @property
    def searched(self) -> list[str]:
        """Fields that any stage varied, in the order in which they were first searched."""
        every = (parameter.name for stage in self.stages for space in stage.pinned.spaces for parameter in space)
        return list(dict.fromkeys(every))

    @cached_property
    def finalists(self) -> list[Finalist]:
        """The finalists, best mean first; empty before the confirmation has a complete run."""
        if self.confirmation is None or self.confirmation.complete.empty:
            return []
        return read_finalists(self.confirmation.record, self.confirmation.optuna_trials)

    @property
    def test(self) -> LookResult | None:
        """The result of the last look that finished; None while the test set is sealed, or if every look crashed."""
        results = [look.result for look in self.looks if look.result]
        return results[-1] if results else None


def open_facts(settings: Settings, study: str) -> StudyFacts:
    """Open the database of the settings and read a study. Raises UserError if one of them does not exist."""
    storage = open_storage(settings.storage_url, create=False)
    try:
        return read_facts(storage, study)
    finally:
        storage.close()


def read_facts(storage: Storage, study: str, earlier: StudyFacts | None = None) -> StudyFacts:
    """Read a study from the database. Raises UserError if it does not exist.

    Stages that have not changed since `earlier` was read are taken from there.
    """
    record = find_study(storage, study)
    signature = read_signature(storage, record)  # First: a change in the meantime makes it old, not wrong.
    known = {stage.record.optuna_study: stage for stage in (earlier.all_stages if earlier else ())}
    stages = [_read_stage(storage, stage, known.get(stage.optuna_study)) for stage in read_stages(storage, study)]
    return StudyFacts(
        record=record,
        metric=study_metric(record),
        stages=tuple(stage for stage in stages if not stage.pinned.is_final),
        confirmation=next((stage for stage in stages if stage.pinned.is_final), None),
        looks=tuple(looks(storage, study)),
        looks_by_others=tuple(looks_by_others(storage, record)),
        commands=tuple(read_commands(storage, study)),
        signature=signature,
    )


def _read_stage(storage: Storage, record: StageRecord, earlier: StageFacts | None) -> StageFacts:
    pinned, snapshot = record.pinned, stage_snapshot(storage, record)  # The snapshot first, as the signature.
    if earlier and (earlier.record, earlier.snapshot) == (record, snapshot):
        return earlier
    trials = stage_trials(storage, record)
    index = pd.Index([trial.number for trial in trials], name="trial", dtype=int)
    return StageFacts(
        record=record,
        pinned=pinned,
        snapshot=snapshot,
        optuna_trials=tuple(trials),
        trials=pd.DataFrame([_trial_row(trial, pinned) for trial in trials], index=index, columns=_TRIAL_COLUMNS),
        params=pd.DataFrame([t.params for t in trials], index=index, columns=_param_names(pinned), dtype=object),
        epochs=_read_epochs(storage, trials, record.pinned.metric),
    )


_TRIAL_COLUMNS = [
    "state", "value", "val_accuracy", "epochs", "epochs_planned", "duration_s", "checkpoint_s", "service_s",
    "started_at", "finished_at", "seed", "base", "parameters", "device", "reason",
]  # fmt: skip


def _trial_row(trial: FrozenTrial, pinned: PinnedStage) -> dict[str, Any]:
    attributes = trial.user_attrs
    return {
        "state": trial_status(trial),
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


def _read_epochs(storage: Storage, trials: Sequence[FrozenTrial], metric: str) -> pd.DataFrame:
    """A row for each epoch, where `metric` is the name of the study's metric."""
    numbers = {database_id(trial): trial.number for trial in trials}
    query = (
        select(epoch_table.c.trial_id, epoch_table.c.metrics)
        .where(epoch_table.c.trial_id.in_(numbers))
        .order_by(epoch_table.c.trial_id, epoch_table.c.epoch)
    )
    with storage.reader.begin() as connection:
        rows = [{"trial": numbers[trial_id], **metrics} for trial_id, metrics in connection.execute(query)]
    epochs = pd.DataFrame(rows, columns=None if rows else ["trial", "epoch"])
    return epochs.rename(columns={"val_metric": metric})


def _configs(stage: StageFacts) -> pd.DataFrame:
    begun = [trial for trial in stage.optuna_trials if names.CONFIG in trial.user_attrs]
    return pd.DataFrame([{"trial": trial.number, **trial.user_attrs[names.CONFIG]} for trial in begun], dtype=object)


def _stack(frames: Sequence[tuple[str, pd.DataFrame]], columns: Sequence[str]) -> pd.DataFrame:
    """The frames stacked, with their stage in a column; `columns` are those of the result without any row."""
    labelled = [frame.assign(stage=name) for name, frame in frames if not frame.empty]
    if not labelled:
        return pd.DataFrame(columns=["stage", *columns])
    stacked = pd.concat(labelled, ignore_index=True)
    return stacked[["stage", *stacked.columns.drop("stage")]]
