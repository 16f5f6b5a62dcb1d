"""Whether one classifier predicts the validation images better than another, by their cross-entropy.

The accuracy on a thousand images varies by more than a point by chance, so what an ensemble gains is seldom clear in
it. The cross-entropy of the same images is far more exact: it counts how sure each answer was.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from models.calibration import Labels, Probabilities, fit_temperature, temper
from search.verdict.champion import mean_interval

Losses = npt.NDArray[np.float64]

_TINY = 1e-12
"""A smaller probability of the true class is taken as this, so that one image cannot decide."""


def calibrated_losses(probabilities_MC: Probabilities, labels_M: Labels) -> Losses:
    """Cross-entropy of each of the M images, with the temperature that would be registered with the classifier."""
    tempered_MC = temper(probabilities_MC, fit_temperature(probabilities_MC, labels_M))
    return -np.log(np.maximum(tempered_MC[np.arange(len(labels_M)), labels_M].astype(np.float64), _TINY))


def is_clearly_lower(losses_M: Losses, others_M: Losses) -> bool:
    """Whether the 95 % interval of the mean difference on the same images excludes that the losses are as high."""
    interval = mean_interval((others_M - losses_M).tolist())
    return interval is not None and interval[0] > 0


def falls_by_an_error(losses_M: Losses, others_M: Losses) -> bool:
    """Whether the losses are lower by more than one standard error of the mean difference on the same images.

    This is the rule of Breiman et al. 1984, "Classification and regression trees", section 3.4.3: of models that differ
    by less, the smaller one is taken.
    """
    falls_M = others_M - losses_M
    return bool(falls_M.mean() > falls_M.std(ddof=1) / math.sqrt(len(falls_M)))
