"""Calibration: one temperature for all logits, so that probabilities say how often answers are right.

It is fitted on validation images, as are the thresholds of confidence; test images have no part in either. Source: Guo
et al. 2017, "On calibration of modern neural networks", section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.thresholds import Threshold, choose_thresholds

Probabilities = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

LIBRARIES = ("scipy.optimize", "scipy.stats")
"""What `calibrate` imports when it is called; this takes a second or more."""
_LOG_RANGE = (np.log(0.05), np.log(20.0))
"""Range of the temperature's logarithm."""
_FOLDS = 5
_TINY = 1e-38
"""A probability that float32 rounds to 0 is taken as this."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a classifier learned from its validation images about its own confidence."""

    temperature: float = 1.0
    """What logits are divided by before softmax."""
    thresholds: tuple[Threshold, ...] = ()
    """Least confidences for wished precisions, the lowest precision first."""

    def to_json(self) -> dict[str, Any]:
        """The object that a stored classifier holds."""
        return {
            "temperature": self.temperature,
            "thresholds": [threshold.to_json() for threshold in self.thresholds],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> Calibration:
        """Read a stored object; None, as in versions without calibration, is a temperature of 1."""
        if stored is None:
            return cls()
        thresholds = tuple(Threshold(**threshold) for threshold in stored["thresholds"])
        return cls(temperature=stored["temperature"], thresholds=thresholds)


UNCALIBRATED = Calibration()


def calibrate(probabilities_MC: Probabilities, labels_M: Labels) -> Calibration:
    """Fit a temperature to predictions on validation images, then choose thresholds for the tempered probabilities."""
    temperature = fit_temperature(probabilities_MC, labels_M)
    tempered_MC = temper(probabilities_MC, temperature)
    is_right_M = tempered_MC.argmax(axis=1) == labels_M
    return Calibration(temperature=temperature, thresholds=choose_thresholds(tempered_MC.max(axis=1), is_right_M))


def temper(probabilities_NC: Probabilities, temperature: float) -> npt.NDArray[np.float32]:
    """The probabilities that the same logits give when they are divided by `temperature`.

    A temperature above 1 makes them less confident. The most probable class stays the same.
    """
    logits_NC = np.log(np.maximum(probabilities_NC.astype(np.float64), _TINY)) / temperature
    powers_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    return np.asarray(powers_NC / powers_NC.sum(axis=1, keepdims=True), dtype=np.float32)


def fit_temperature(probabilities_MC: Probabilities, labels_M: Labels) -> float:
    """The temperature with the least cross-entropy on validation images, or 1.0 if it does not help.

    Whether it helps is decided on images that it was not fitted to, in five folds. The labels are softened as in Platt
    1999, as if one image more were wrong and belonged to the second most probable class: without that, images that are
    all right would ask for a temperature of 0.
    """
    if len(labels_M) < 2 * _FOLDS:
        return 1.0
    folds_M = np.random.default_rng(0).permutation(len(labels_M)) % _FOLDS
    held_out = 0.0
    for fold in range(_FOLDS):
        inside_M = folds_M != fold
        temperature = _least(probabilities_MC[inside_M], labels_M[inside_M])
        held_out += _loss_sum(probabilities_MC[~inside_M], labels_M[~inside_M], temperature)
    if held_out >= _loss_sum(probabilities_MC, labels_M, 1.0):
        return 1.0
    return _least(probabilities_MC, labels_M)


def _least(probabilities_MC: Probabilities, labels_M: Labels) -> float:
    from scipy.optimize import minimize_scalar  # Here, because a registered model loads without SciPy.

    images, classes = probabilities_MC.shape
    logits_MC = np.log(np.maximum(probabilities_MC.astype(np.float64), _TINY))
    softening = 1 / (images + 2)
    of_label_M = logits_MC[np.arange(images), labels_M]
    of_others_MC = np.where(np.arange(classes) == labels_M[:, None], -np.inf, logits_MC)
    target_M = (1 - softening) * of_label_M + softening * of_others_MC.max(axis=1)

    def loss(log_temperature: float) -> float:
        scaled_MC = logits_MC / np.exp(log_temperature)
        top_M = scaled_MC.max(axis=1)
        normaliser_M = top_M + np.log(np.exp(scaled_MC - top_M[:, None]).sum(axis=1))
        return float((normaliser_M - target_M / np.exp(log_temperature)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_RANGE, method="bounded").x))


def _loss_sum(probabilities_NC: Probabilities, labels_N: Labels, temperature: float) -> float:
    of_label_N = temper(probabilities_NC, temperature)[np.arange(len(labels_N)), labels_N]
    return float(-np.log(np.maximum(of_label_N.astype(np.float64), _TINY)).sum())
