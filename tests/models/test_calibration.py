"""The temperature, and thresholds of confidence: fitted to validation images, right for new ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from models.calibration import Calibration, calibrate, fit_temperature, temper
from models.thresholds import choose_thresholds, lowest_threshold


def draw(images: int, seed: int, *, confident: float = 1.0, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right as often as they say if `confident` is 1, and too sure if it is more."""
    generator = np.random.default_rng(seed)
    logits_NC = 4 * generator.normal(size=(images, classes))
    labels_N = np.array([generator.choice(classes, p=softmax(row)) for row in logits_NC])
    return softmax(confident * logits_NC).astype(np.float32), labels_N


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("confident", [0.5, 3.0])
def test_the_temperature_is_the_factor_by_which_a_network_is_too_sure(confident: float) -> None:
    assert fit_temperature(*draw(4000, seed=0, confident=confident)) == pytest.approx(confident, rel=0.07)


def test_tempering_divides_the_logits() -> None:
    logits_NC = np.random.default_rng(0).normal(size=(50, 4)) * 5
    np.testing.assert_allclose(temper(softmax(logits_NC), 2.5), softmax(logits_NC / 2.5), atol=1e-6)
    certain = temper(np.array([[1, 0, 0]], dtype=np.float32), 3.0)
    assert certain[0].tolist() == pytest.approx([1, 0, 0], abs=1e-6)


def test_a_temperature_that_does_not_help_other_images_is_not_kept() -> None:
    kept_out = sum(fit_temperature(*draw(60, seed=seed)) == 1.0 for seed in range(20))
    assert kept_out >= 8
    assert fit_temperature(*draw(9, seed=0, confident=5.0)) == 1.0, "too few images to decide"


def test_images_that_are_all_right_do_not_make_a_network_certain() -> None:
    images = 200
    labels_N = np.arange(images) % 3
    probabilities_NC = np.full((images, 3), 0.05)
    probabilities_NC[np.arange(images), labels_N] = 0.9
    tempered = temper(probabilities_NC, fit_temperature(probabilities_NC, labels_N))
    assert tempered.max() == pytest.approx(1 - 1 / (images + 2), abs=0.003)


def test_a_threshold_keeps_its_promise_for_as_many_validation_sets_as_it_says() -> None:
    broken, sets, promised = 0, 150, 0.8
    new_NC, new_labels_N = draw(20_000, seed=10_000)
    new_confidence_N, new_right_N = new_NC.max(axis=1), new_NC.argmax(axis=1) == new_labels_N
    found = 0
    for seed in range(sets):
        val_MC, labels_M = draw(300, seed=seed)
        least = lowest_threshold(val_MC.max(axis=1), val_MC.argmax(axis=1) == labels_M, promised)
        if least is not None:
            found += 1
            broken += new_right_N[new_confidence_N >= least].mean() < promised
    assert found > sets / 2
    assert broken <= binom.ppf(0.99, sets, 0.05)


def test_a_precision_that_few_images_cannot_vouch_for_has_no_threshold() -> None:
    all_right = choose_thresholds(np.linspace(0.5, 1, 100), np.ones(100, dtype=bool))
    assert [threshold.precision for threshold in all_right] == [0.8, 0.9]
    assert [threshold.coverage for threshold in all_right] == [1.0, 1.0]
    more = choose_thresholds(np.linspace(0.5, 1, 110), np.ones(110, dtype=bool))
    assert [threshold.precision for threshold in more] == [0.8, 0.9, 0.95], "1 - 0.005 ** (1 / 110) is 0.047"
    assert choose_thresholds(np.linspace(0.5, 1, 100), np.zeros(100, dtype=bool)) == ()


def test_images_of_equal_confidence_are_answered_together() -> None:
    confidence = np.repeat([0.9, 0.5], 200)
    is_right = np.r_[np.ones(200, dtype=bool), np.arange(200) % 2 == 0]
    assert lowest_threshold(confidence, is_right, 0.95) == 0.9


def test_a_calibration_comes_back_from_json() -> None:
    found = calibrate(*draw(900, seed=0, confident=2.0))
    assert found.temperature > 1.5 and found.thresholds
    assert Calibration.from_json(found.to_json()) == found
    assert Calibration.from_json(None) == Calibration()
