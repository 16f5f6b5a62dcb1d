import numpy as np
import pytest

from models.calibration import temper
from search.verdict.calibrated_loss import calibrated_losses, falls_by_an_error, is_clearly_lower

GENERATOR = np.random.default_rng(0)


def _predictions(images: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of three classes that are right as often as they say, and labels."""
    probabilities_MC = GENERATOR.dirichlet((0.5, 0.5, 0.5), images).astype(np.float32)
    labels_M = np.array([GENERATOR.choice(3, p=row / row.sum()) for row in probabilities_MC.astype(np.float64)])
    return probabilities_MC, labels_M


def test_the_loss_does_not_depend_on_how_sure_a_classifier_is_of_all_its_answers() -> None:
    probabilities_MC, labels_M = _predictions()
    expected = calibrated_losses(probabilities_MC, labels_M).mean()
    assert calibrated_losses(temper(probabilities_MC, 0.4), labels_M).mean() == pytest.approx(expected, abs=2e-3)


def test_an_answer_without_any_probability_for_the_true_class_has_a_finite_loss() -> None:
    losses = calibrated_losses(np.array([[1.0, 0.0], [1.0, 0.0]], dtype=np.float32), np.array([0, 1]))
    assert np.isfinite(losses).all() and losses[1] > losses[0]


def test_a_difference_is_clear_only_if_it_exceeds_its_own_noise() -> None:
    losses_M = GENERATOR.exponential(size=1000)
    noise_M = GENERATOR.normal(scale=0.5, size=1000)
    assert is_clearly_lower(losses_M - 0.1 + noise_M, losses_M)
    assert not is_clearly_lower(losses_M - 0.001 + noise_M - noise_M.mean(), losses_M)
    assert not is_clearly_lower(losses_M, losses_M)


def test_a_fall_of_one_standard_error_is_less_than_a_clear_one() -> None:
    losses_M, noise_M = np.ones(400), np.tile((-1.0, 1.0), 200)  # The standard error of the mean is 0.05.
    assert falls_by_an_error(losses_M - 0.06 + noise_M, losses_M)
    assert not is_clearly_lower(losses_M - 0.06 + noise_M, losses_M)
    assert not falls_by_an_error(losses_M - 0.04 + noise_M, losses_M)
    assert not falls_by_an_error(losses_M, losses_M)
