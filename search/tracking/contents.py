"""Tags, status, parameters and metrics of an MLflow run, computed from a stage or a trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState

from search import names
from search.store.optuna_private import database_id
from search.store.records import StageRecord, StudyRecord
from search.store.software import software
from search.store.states import MARKS
from search.tracking import tags

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param

STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
_STAGE_FACTS = ("trials", "epochs", "sampler", "pruner", "metric")
_TRIAL_FACTS = {names.SEED: tags.SEED, names.WORKER: tags.WORKER, names.REASON: tags.REASON}
_TRIAL_RESULTS = (names.DURATION_S, names.EPOCHS_DONE, names.BEST_EPOCH, names.PARAMETERS)


def study_tags(study: StudyRecord) -> dict[str, str]:
    """Tags that all runs of a study share: study, data and software."""
    return {
        tags.STUDY: study.name,
        tags.STUDY_KEY: str(study.created_at),
        tags.DATA_FINGERPRINT: study.data.fingerprint,
        tags.SPLIT_HASH: study.data.split_hash,
        **software(),
    }


def stage_tags(stage: StageRecord) -> dict[str, str]:
    """Tags of a stage's parent run."""
    facts = {f"sieve.{name}": str(getattr(stage.pinned, name)) for name in _STAGE_FACTS}
    return {tags.KIND: "stage", tags.STAGE: stage.name, tags.OPTUNA_STUDY: stage.optuna_study, **facts}


def trial_tags(stage: StageRecord, trial: FrozenTrial, parent_run: str) -> dict[str, str]:
    """Tags of a trial's run when it is created."""
    base = {tags.BASE: str(trial.params[names.BASE])} if names.BASE in trial.params else {}
    return {
        tags.KIND: "trial",
        tags.PARENT_RUN: parent_run,
        tags.STAGE: stage.name,
        tags.OPTUNA_STUDY: stage.optuna_study,
        tags.TRIAL: str(trial.number),
        tags.TRIAL_ID: str(database_id(trial)),
        **base,
        **state_tags(trial),
    }


def state_tags(trial: FrozenTrial) -> dict[str, str]:
    """Tags that may change while a trial runs, and when it ends."""
    marks = [
        status
        for (state, mark), status in MARKS.items()
        if (trial.state.name, True) == (state, trial.user_attrs.get(mark))
    ]
    state = marks[0] if marks else trial.state.name.lower()
    facts = {tag: str(trial.user_attrs[key]) for key, tag in _TRIAL_FACTS.items() if key in trial.user_attrs}
    return {**facts, tags.STATE: state}


def trial_results(stage: StageRecord, trial: FrozenTrial) -> list[Metric]:
    """Metrics of a finished trial as a whole: best value, duration, epochs, number of parameters."""
    results = {key: trial.user_attrs[key] for key in _TRIAL_RESULTS if key in trial.user_attrs}
    if trial.values:
        results[names.metric_key(f"best_{stage.pinned.metric}")] = trial.values[0]
    return metrics(results, step=0, time_s=end_s(trial))


def metrics(values: Mapping[str, object], *, step: int, time_s: float) -> list[Metric]:
    """The numbers among `values` as MLflow metrics; other values are left out, and so is what every epoch has alike.

    MLflow takes longer to keep the metrics of a short epoch than a worker to train it.
    """
    from mlflow.entities import Metric

    at_ms = int(time_s * 1000)
    told = {key: value for key, value in values.items() if key != "epoch" and (key, value) != ("micro_batches", 1)}
    return [Metric(key, float(value), at_ms, step) for key, value in told.items() if isinstance(value, int | float)]


def has_run(trial: FrozenTrial) -> bool:
    """Whether a trial gets a run: not while it waits, and not if it was skipped."""
    return trial.state != TrialState.WAITING and names.SKIPPED not in trial.user_attrs


def params(trial: FrozenTrial) -> list[Param]:
    """The trial's flat configuration as MLflow parameters; empty until its worker has stored it, at the latest at the
    end.
    """
    from mlflow.entities import Param

    config: Mapping[str, object] = trial.user_attrs.get(names.CONFIG, {})
    return [Param(name, str(value)) for name, value in config.items()]


def start_s(trial: FrozenTrial) -> float:
    """Time at which the trial started, in seconds since the epoch; 0 if it never started."""
    return trial.datetime_start.timestamp() if trial.datetime_start else 0.0


def end_s(trial: FrozenTrial) -> float:
    """Time at which the trial ended, in seconds since the epoch; 0 if it has not ended."""
    return trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0
