"""The champion's confidence, measured on the validation images of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from optuna.trial import FrozenTrial

from models.calibration import Calibration, temper
from search import names
from search.store.champion_record import ChampionRecord
from search.store.records import StageRecord
from search.trials.artifacts import Artifacts
from search.trials.validation_predictions import ValidationPredictions, read_predictions
from search.verdict.calibration_error import calibration_errors
from search.verdict.champion import read_finalists
from search.verdict.risk_coverage import selective_results


def champion_predictions(
    artifacts: Artifacts, record: StageRecord, trials: Sequence[FrozenTrial], champion: ChampionRecord
) -> ValidationPredictions | None:
    """The predictions of the champion's run on its validation images; with folds, of its run on each fold.

    They are those without a temperature. None if a run kept none, as in versions before predictions were kept.
    """
    numbers = [champion.trial]
    if record.pinned.folds:
        finalist = next(f for f in read_finalists(record, trials) if f.index == champion.finalist)
        numbers = sorted(finalist.trials.values())
    found = []
    for number in numbers:
        folder = names.trial_folder(artifacts.root, record.study, record.name, number)
        artifacts.fetch(folder)
        found.append(read_predictions(folder))
    kept = [predictions for predictions in found if predictions is not None]
    if len(kept) < len(numbers):
        return None
    return ValidationPredictions(
        labels_M=np.concatenate([predictions.labels_M for predictions in kept]),
        probabilities_MC=np.concatenate([predictions.probabilities_MC for predictions in kept]),
    )


def with_calibration(
    champion: ChampionRecord, predictions: ValidationPredictions, calibration: Calibration
) -> ChampionRecord:
    """The champion with its temperature, and what temperature and thresholds do on validation images."""
    labels_M, probabilities_MC = predictions.labels_M, temper(predictions.probabilities_MC, calibration.temperature)
    is_right_M = probabilities_MC.argmax(axis=1) == labels_M
    return replace(
        champion,
        temperature=calibration.temperature,
        calibration_errors=tuple(calibration_errors(labels_M, probabilities_MC, calibration.temperature)),
        selective=selective_results(calibration.thresholds, probabilities_MC.max(axis=1), is_right_M),
    )
