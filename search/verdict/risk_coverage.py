"""Risk against coverage: how many answers are wrong if the least confident ones are not given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.thresholds import Threshold
from search.store.look_result import SelectiveResult

Floats = npt.NDArray[np.floating]
Booleans = npt.NDArray[np.bool_]


def risk_coverage(confidence_N: Floats, is_right_N: Booleans) -> tuple[Floats, Floats]:
    """Share of images that are answered, and share of wrong answers among them, for each possible threshold.

    Images with equal confidence are answered together. Source: El-Yaniv and Wiener 2010, "On the foundations of
    noise-free selective classification".
    """
    order = np.argsort(-confidence_N, kind="stable")
    sorted_N = confidence_N[order]
    answered_N = np.arange(1, len(order) + 1)
    wrong_N = np.cumsum(~is_right_N[order])
    is_last_N = np.append(sorted_N[1:] < sorted_N[:-1], True)
    return answered_N[is_last_N] / len(order), wrong_N[is_last_N] / answered_N[is_last_N]


def selective_results(
    thresholds: Sequence[Threshold], confidence_N: Floats, is_right_N: Booleans
) -> tuple[SelectiveResult, ...]:
    """The answers that are given at each threshold."""
    return tuple(
        SelectiveResult(
            precision=threshold.precision,
            confidence=threshold.confidence,
            images=len(confidence_N),
            answered=int((confidence_N >= threshold.confidence).sum()),
            right=int(is_right_N[confidence_N >= threshold.confidence].sum()),
        )
        for threshold in thresholds
    )
