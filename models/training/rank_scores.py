"""Scores that depend on the ranks of probabilities: the area under the ROC curve, and top-k accuracy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

Floats = npt.NDArray[np.floating]


def in_top_k(logits_NC: Tensor, labels_N: Tensor, k: int) -> Tensor:
    """Whether fewer than `k` classes score higher than the true one, bool of shape (N,)."""
    of_label_N1 = logits_NC.gather(1, labels_N.unsqueeze(1))
    return (logits_NC > of_label_N1).sum(dim=1) < k


def placements(scores_N: Floats, is_positive_N: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """For each positive image the share of negatives that score lower, and for each negative that of positives higher.

    An equal score counts half. The mean of either is the area under the ROC curve. Source: DeLong, DeLong and
    Clarke-Pearson 1988, "Comparing the areas under two or more correlated receiver operating characteristic curves".
    """
    positives, negatives = scores_N[is_positive_N], scores_N[~is_positive_N]
    of_positives = _share_below(positives, np.sort(negatives))
    of_negatives = 1 - _share_below(negatives, np.sort(positives))
    return of_positives, of_negatives


def macro_auroc(probabilities_NC: Floats, labels_N: npt.NDArray[np.int64]) -> float:
    """Mean over classes of the area under the ROC curve of one class against the rest.

    Classes without images, and a class that all images have, are left out; 0 if none is left. Otherwise equal to
    scikit-learn's `roc_auc_score(multi_class="ovr", average="macro")`.
    """
    areas = [
        float(placements(probabilities_NC[:, label], labels_N == label)[0].mean())
        for label in range(probabilities_NC.shape[1])
        if 0 < int((labels_N == label).sum()) < len(labels_N)
    ]
    return sum(areas) / len(areas) if areas else 0.0


def _share_below(values_N: Floats, sorted_M: Floats) -> Floats:
    below, not_above = (np.searchsorted(sorted_M, values_N, side=side) for side in ("left", "right"))
    return np.asarray((below + not_above) / (2 * len(sorted_M)))
