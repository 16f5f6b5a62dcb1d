"""What the champion's confidence is worth: the calibration error, and risk against coverage."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibration import fit_temperature, temper
from models.thresholds import Threshold
from search.store.champion_record import ChampionRecord
from search.store.look_result import LookResult, SelectiveResult
from search.verdict.calibration_error import calibration_errors
from search.verdict.risk_coverage import risk_coverage, selective_results
from tests.models.test_calibration import draw


def test_the_temperature_lowers_the_calibration_error_on_other_images() -> None:
    temperature = fit_temperature(*draw(1000, seed=0, confident=2.5))
    probabilities_NC, labels_N = draw(1000, seed=1, confident=2.5)
    before, after = calibration_errors(labels_N, temper(probabilities_NC, temperature), temperature)
    assert after.value < before.value / 2
    assert after.interval[1] < before.interval[0]
    assert after.interval[0] < after.value < after.interval[1]
    (unchanged, _) = calibration_errors(labels_N, probabilities_NC, 1.0)
    assert before.value == pytest.approx(unchanged.value, abs=1e-3), "it is undone without loss"


def test_the_risk_is_that_of_the_most_confident_answers() -> None:
    coverage, risk = risk_coverage(np.array([0.5, 0.9, 0.7, 0.7]), np.array([False, True, True, False]))
    assert coverage.tolist() == [0.25, 0.75, 1.0], "equal confidences are answered together"
    assert risk.tolist() == pytest.approx([0, 1 / 3, 2 / 4])


def test_a_threshold_answers_images_at_and_above_it() -> None:
    thresholds = (Threshold(precision=0.9, confidence=0.7, coverage=0.5),)
    (found,) = selective_results(thresholds, np.array([0.5, 0.9, 0.7]), np.array([True, True, False]))
    assert found == SelectiveResult(precision=0.9, confidence=0.7, images=3, answered=2, right=1)


def test_what_is_known_of_the_confidence_comes_back_from_the_database() -> None:
    probabilities_NC, labels_N = draw(50, seed=0)
    errors = tuple(calibration_errors(labels_N, probabilities_NC, 1.3))
    selective = (SelectiveResult(precision=0.9, confidence=0.7, images=3, answered=2, right=1),)
    champion = ChampionRecord(temperature=1.3, calibration_errors=errors, selective=selective)
    assert ChampionRecord.from_json(champion.to_json()) == champion
    result = LookResult(measures=errors, selective=selective)
    assert LookResult.from_json(result.to_json()) == result
    assert ChampionRecord.from_json({}).temperature == 1.0, "a champion of an earlier version"
