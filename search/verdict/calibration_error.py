"""The expected calibration error: how far confidence lies from accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.calibration import Labels, Probabilities, temper
from search.store.look_result import MeasureScore

BINS = 15
BEFORE, AFTER = "calibration error without temperature", "calibration error"
_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """Predictions in bins of confidence of equal width from 0 to 1; only bins with images are listed."""

    bin_B: npt.NDArray[np.int64]
    """Index of each bin, from 0."""
    images_B: npt.NDArray[np.int64]
    """Number of images in each bin."""
    right_B: npt.NDArray[np.int64]
    """Number of correct predictions in each bin."""
    confidence_B: npt.NDArray[np.float64]
    """Mean probability of the predicted class in each bin."""

    @property
    def accuracy_B(self) -> npt.NDArray[np.float64]:
        """Share of correct predictions in each bin."""
        return np.asarray(self.right_B / self.images_B)

    @property
    def error(self) -> float:
        """The expected calibration error: mean distance of confidence and accuracy, weighted by the bins' images."""
        return float(np.average(np.abs(self.accuracy_B - self.confidence_B), weights=self.images_B))


def reliability(
    confidence_N: npt.NDArray[np.floating], is_right_N: npt.NDArray[np.bool_], bins: int = BINS
) -> Reliability:
    """Sort predictions into bins. Source: Guo et al. 2017, "On calibration of modern neural networks", section 2."""
    # A bin includes its upper edge, as in the paper.
    of_bin_N = np.clip(np.ceil(confidence_N.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    images = np.bincount(of_bin_N, minlength=bins)
    filled = np.flatnonzero(images)
    sums = np.bincount(of_bin_N, weights=confidence_N, minlength=bins)
    right = np.bincount(of_bin_N, weights=is_right_N, minlength=bins).astype(np.int64)
    return Reliability(
        bin_B=filled, images_B=images[filled], right_B=right[filled], confidence_B=sums[filled] / images[filled]
    )


def calibration_errors(labels_N: Labels, probabilities_NC: Probabilities, temperature: float) -> list[MeasureScore]:
    """The expected calibration error without and with the temperature; `probabilities_NC` are those with it."""
    before_NC = temper(probabilities_NC, 1 / temperature)
    return [_error(BEFORE, labels_N, before_NC), _error(AFTER, labels_N, probabilities_NC)]


def _error(name: str, labels_N: Labels, probabilities_NC: Probabilities) -> MeasureScore:
    """The error with an interval from resampled images (Efron 1979), drawn with a fixed seed.

    Errors of resamples are too large, because bins differ from their mean by chance a second time. So the interval
    takes their spread around their mean, and places it around the error of the images.
    """
    confidence_N = probabilities_NC.max(axis=1).astype(np.float64)
    is_right_N = probabilities_NC.argmax(axis=1) == labels_N
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(_RESAMPLES):
        index_N = generator.integers(0, len(labels_N), len(labels_N))
        drawn.append(reliability(confidence_N[index_N], is_right_N[index_N]).error)
    value = reliability(confidence_N, is_right_N).error
    low, high = (value + np.quantile(drawn, [0.025, 0.975]) - np.mean(drawn)).tolist()
    return MeasureScore(name=name, value=value, interval=(max(0.0, low), min(1.0, high)))
