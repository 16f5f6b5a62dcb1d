"""The result of an ablation: each cell over its seeds, the effects with intervals, scores on validation images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from search import names
from search.store.records import StageRecord, StudyRecord
from search.trials.validation_predictions import ValidationPredictions, read_predictions
from search.verdict.champion import Finalist, read_finalists
from search.verdict.factorial import BlockModel, Contrast, Effect, Run, estimate_effects
from search.verdict.scores import score_answers
from studies.ablation import describe_cell

METHOD = (
    "least squares with a term for each cell and each seed (randomised complete blocks); 95 % intervals by Student's "
    "t, not corrected for multiple comparisons; p-values with Holm's correction over all effects"
)


@dataclass(frozen=True, kw_only=True)
class MeanClassScores:
    """Scores of one class, each the mean over a cell's runs."""

    name: str
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True)
class MeanScores:
    """Scores on validation images, each the mean over a cell's runs."""

    accuracy: float
    balanced_accuracy: float
    """Mean of the classes' recalls."""
    macro_f1: float
    """Mean of the classes' F1 scores."""
    per_class: tuple[MeanClassScores, ...]
    """Scores of each class, in the order of the labels."""
    confusion: tuple[tuple[int, ...], ...]
    """Number of images by true class (rows) and predicted class (columns), added up over the runs."""

    def to_json(self) -> dict[str, Any]:
        """The object that `search.run --json` holds for the cell."""
        per_class = [
            {"class": entry.name, "precision": entry.precision, "recall": entry.recall, "f1": entry.f1}
            for entry in self.per_class
        ]
        return {**vars(self), "per_class": per_class, "confusion": [list(row) for row in self.confusion]}


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """One combination of levels, trained on every seed."""

    name: str
    """The levels in which the cell differs from the base model, or `base model`."""
    levels: Mapping[str, str]
    """The level of each factor."""
    runs: Finalist
    """The cell's configuration and its runs."""
    difference: Contrast | None
    """Difference from the base model; None for the base model itself, and if the base model has no complete run."""
    answers: tuple[ValidationPredictions, ...]
    """Predictions on the validation images, one entry for each run that has kept them."""


@dataclass(frozen=True, kw_only=True)
class AblationResult:
    """An ablation, finished or not."""

    metric: str
    maximize: bool
    classes: tuple[str, ...]
    cells: tuple[CellResult, ...]
    """The cells that have a complete run, in the order of their levels; the base model comes first."""
    effects: tuple[Effect, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the cells, effects and interactions as a dict for JSON."""
        return {
            "metric": self.metric,
            "method": METHOD,
            "cells": [_cell_json(cell, self.classes) for cell in self.cells],
            "effects": [_effect_json(effect) for effect in self.effects],
        }


def read_ablation(
    study: StudyRecord, stage: StageRecord, trials: Sequence[FrozenTrial], home: Path
) -> AblationResult | None:
    """Read the ablation that ends a study; None for another last stage, or before the first complete run."""
    pinned = stage.pinned
    if not pinned.cells or not any(trial.state.name == "COMPLETE" for trial in trials):
        return None
    found = sorted(read_finalists(stage, trials), key=lambda finalist: finalist.index)
    runs = [Run(cell=f.index, seed=seed, value=value) for f in found for seed, value in f.values.items()]
    model = BlockModel(runs)

    def folders(finalist: Finalist) -> Iterator[Path]:
        return (names.trial_folder(home, study.name, stage.name, number) for number in finalist.trials.values())

    return AblationResult(
        metric=pinned.metric,
        maximize=pinned.direction == "maximize",
        classes=study.data.classes,
        cells=tuple(
            CellResult(
                name=_name(pinned.cells[f.index], pinned.cells[0]),
                levels=pinned.cells[f.index],
                runs=f,
                difference=model.contrast({f.index: 1.0, 0: -1.0}) if f.index else None,
                answers=tuple(answers for folder in folders(f) if (answers := read_predictions(folder)) is not None),
            )
            for f in found
        ),
        effects=tuple(estimate_effects(pinned.cells, runs)),
    )


def _name(cell: Mapping[str, str], base: Mapping[str, str]) -> str:
    return describe_cell({factor: level for factor, level in cell.items() if level != base[factor]}) or "base model"


def mean_scores(answers: Sequence[ValidationPredictions], classes: tuple[str, ...]) -> MeanScores | None:
    """Scores on validation images, mean over the runs whose `answers` these are; None without any answers."""
    if not answers:
        return None
    scores = [score_answers(one, classes) for one in answers]
    return MeanScores(
        accuracy=_mean(run.accuracy for run in scores),
        balanced_accuracy=_mean(run.balanced_accuracy for run in scores),
        macro_f1=_mean(run.macro_f1 for run in scores),
        per_class=tuple(
            MeanClassScores(
                name=name,
                precision=_mean(run.per_class[label].precision for run in scores),
                recall=_mean(run.per_class[label].recall for run in scores),
                f1=_mean(run.per_class[label].f1 for run in scores),
            )
            for label, name in enumerate(classes)
        ),
        confusion=tuple(map(tuple, np.sum([run.confusion for run in scores], axis=0).tolist())),
    )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _cell_json(cell: CellResult, classes: tuple[str, ...]) -> dict[str, Any]:
    runs, scores = cell.runs, mean_scores(cell.answers, classes)
    return {
        "index": runs.index,
        "name": cell.name,
        "levels": dict(cell.levels),
        "runs": len(runs.values),
        "lost_runs": runs.lost_runs,
        "values": list(runs.values.values()),
        "mean": runs.mean,
        "interval": runs.interval,
        "difference": cell.difference and vars(cell.difference),
        "scores": scores and scores.to_json(),
    }


def _effect_json(effect: Effect) -> dict[str, Any]:
    return {
        "factors": list(effect.factors),
        "levels": list(effect.levels),
        "reference": list(effect.reference),
        **vars(effect.contrast),
        "adjusted_p": effect.adjusted_p,
        "clear": effect.is_clear,
    }
