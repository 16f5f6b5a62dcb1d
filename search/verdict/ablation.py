"""What an ablation found: each cell over its seeds, the effects with their intervals, scores on validation images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from search import names
from search.stage.pinned import PinnedStage
from search.store.records import StageRecord, StudyRecord
from search.trials.validation_predictions import ValidationPredictions, read_predictions
from search.verdict.champion import Finalist, read_finalists
from search.verdict.factorial import BlockModel, Contrast, Effect, Run, estimate_effects
from search.verdict.scores import score_answers
from studies.ablation import describe_cell

METHOD = (
    "least squares with a term per cell and per seed (randomised complete blocks); intervals 95 % each by itself, "
    "Student's t; p after Holm's correction over all effects"
)
CLASS_SCORES = ("precision", "recall", "f1")


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """One combination of levels, trained on every seed."""

    name: str
    """In what it differs from the base model."""
    levels: Mapping[str, str]
    runs: Finalist
    difference: Contrast | None
    """From the base model; None for the base model itself, and where that has no run."""
    answers: tuple[ValidationPredictions, ...]
    """On the validation images, one for each run whose answers are at hand."""


@dataclass(frozen=True, kw_only=True)
class AblationResult:
    """A whole ablation, as far as it was run."""

    metric: str
    maximize: bool
    classes: tuple[str, ...]
    cells: tuple[CellResult, ...]
    """Those with a complete run, in the order of their levels; where it was run, the base model first."""
    effects: tuple[Effect, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "method": METHOD,
            "cells": [_cell_json(cell, self.classes) for cell in self.cells],
            "effects": [_effect_json(effect) for effect in self.effects],
        }


def read_ablation(
    study: StudyRecord, stage: StageRecord, trials: Sequence[FrozenTrial], home: Path
) -> AblationResult | None:
    """The ablation that a study ended with; None for another last stage, or before the first run is complete."""
    pinned = PinnedStage.from_json(stage.pinned)
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
        classes=tuple(study.data["classes"]),
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


def mean_scores(answers: Sequence[ValidationPredictions], classes: tuple[str, ...]) -> dict[str, Any] | None:
    """Means over the runs, and the confusion matrix of all of them added up; None without any answers."""
    if not answers:
        return None
    scores = [score_answers(one, classes) for one in answers]
    per_class = [
        {"class": name, **{key: _mean(run["per_class"][index][key] for run in scores) for key in CLASS_SCORES}}
        for index, name in enumerate(classes)
    ]
    return {
        **{key: _mean(run[key] for run in scores) for key in ("accuracy", "balanced_accuracy", "macro_f1")},
        "per_class": per_class,
        "confusion": np.sum([run["confusion"] for run in scores], axis=0).tolist(),
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _cell_json(cell: CellResult, classes: tuple[str, ...]) -> dict[str, Any]:
    runs = cell.runs
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
        "scores": mean_scores(cell.answers, classes),
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
