"""Confidence thresholds: below them a classifier is unsure, so that its other answers are as precise as wished."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PRECISIONS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Precisions for which a threshold is looked for."""
CERTAINTY = 0.95
"""Probability with which the answers to new images are as precise as wished."""

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Shares of the validation images that the thresholds answer, the largest first."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The least confidence of an answer, for a wished precision."""

    precision: float
    """The wished share of correct answers among those that are given."""
    confidence: float
    """The least probability of the predicted class."""
    coverage: float
    """Share of the validation images that are answered."""

    def to_json(self) -> dict[str, Any]:
        """The object that a stored classifier holds."""
        return asdict(self)


def choose_thresholds(
    confidence_M: npt.NDArray[np.floating], is_right_M: npt.NDArray[np.bool_]
) -> tuple[Threshold, ...]:
    """The thresholds for each of `PRECISIONS` that these validation images vouch for, the lowest first."""
    found = ((precision, lowest_threshold(confidence_M, is_right_M, precision)) for precision in PRECISIONS)
    return tuple(
        Threshold(precision=precision, confidence=least, coverage=float((confidence_M >= least).mean()))
        for precision, least in found
        if least is not None
    )


def lowest_threshold(
    confidence_M: npt.NDArray[np.floating], is_right_M: npt.NDArray[np.bool_], precision: float
) -> float | None:
    """The least confidence at which answers to new images are as precise as wished, with a probability of `CERTAINTY`.

    None if the images are too few, or too many of them wrong. The risk at each of `COVERAGES` gets an upper bound;
    all bounds hold together with that probability. Source: Geifman and El-Yaniv 2017, "Selective classification for
    deep neural networks", section 3; their binary search would miss thresholds that only many images can vouch for.
    """
    from scipy.stats import beta  # Here, because a registered model loads without SciPy.

    sorted_M = np.sort(confidence_M)[::-1]
    uncertainty = (1 - CERTAINTY) / len(COVERAGES)
    for coverage in COVERAGES:
        threshold = float(sorted_M[math.ceil(coverage * len(sorted_M)) - 1])
        is_answered_M = confidence_M >= threshold
        answered = int(is_answered_M.sum())
        wrong = answered - int(is_right_M[is_answered_M].sum())
        if wrong < answered and beta.ppf(1 - uncertainty, wrong + 1, answered - wrong) <= 1 - precision:
            return threshold
    return None
