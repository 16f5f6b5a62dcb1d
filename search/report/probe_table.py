"""The table of a probe stage: accuracy, time and size of each backbone, and which of them the next stage got."""

from __future__ import annotations

import math

from optuna.trial import FrozenTrial, TrialState

from search import names
from search.report.facts import StageFacts
from search.report.metric import Metric, show_time
from search.report.table import Cell, Table
from search.stage.shortlist import backbone_of, left_out_because, published_top1, shortlist

_UNKNOWN = Cell(text="-", key=math.nan)


def probe_table(stage: StageFacts, metric: Metric, wanted: int) -> Table:
    """A row for each backbone, best first; those that were left out have their reason.

    `wanted` is the number of configurations that the stage after it takes over.
    """
    taken = {trial.number: why for trial, why in shortlist(stage.pinned, stage.optuna_trials, wanted)}
    ended = [trial for trial in stage.optuna_trials if trial.state.is_finished()]
    ended.sort(key=lambda trial: _value(trial) * (-1 if metric.maximize else 1))
    ended.sort(key=lambda trial: trial.state != TrialState.COMPLETE)
    return Table(
        caption=(
            f"{metric.heading} of a linear classifier on the features of each frozen backbone. The time includes the "
            "extraction of features that no earlier trial had stored. Neither this ranking nor the published accuracy "
            "on ImageNet alone predicts the best backbone after fine-tuning, so the next stage gets the best of both."
        ),
        headings=("backbone", metric.label, "time", "images", "MACs", "parameters", "ImageNet top-1", "passed on as"),
        rows=tuple(_row(stage, trial, metric, taken.get(trial.number, "")) for trial in ended),
        sorts=True,
    )


def _row(stage: StageFacts, trial: FrozenTrial, metric: Metric, why: str) -> tuple[Cell, ...]:
    name = backbone_of(stage.pinned, trial)
    attributes = trial.user_attrs
    if trial.state != TrialState.COMPLETE:
        reason = left_out_because(trial)
        return (Cell(text=name, key=name), *[_UNKNOWN] * 6, Cell(text=f"left out: {reason}", key="~"))
    top1, seconds = published_top1(attributes), attributes[names.DURATION_S]
    return (
        Cell(text=name, key=name),
        Cell(text=metric.show(trial.value), key=_value(trial)),
        Cell(text=show_time(seconds), key=float(seconds)),
        _count(attributes[names.PROBE]["images"]),
        _count(attributes[names.MACS]),
        _count(attributes[names.PARAMETERS]),
        _UNKNOWN if top1 is None else Cell(text=f"{top1:.1f} %", key=top1),
        Cell(text=why, key=why or "~"),
    )


def _count(number: int) -> Cell:
    return Cell(text=f"{number:,}", key=float(number))


def _value(trial: FrozenTrial) -> float:
    return math.nan if trial.value is None else trial.value
