"""Measures of a classifier beyond accuracy, each with its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.metric_names import AUROC, TOP_K, bind_metric, metric_label, split_metric
from models.training.rank_scores import macro_auroc, placements
from search.store.look_result import MeasureScore, Scores
from search.verdict.intervals import effective_images, f1_interval, logit_interval, wilson

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.floating]

_RESAMPLES = 1000
_FEW_CLASSES, _MANY_CLASSES = 5, 10
"""From so many classes on, top-3 and top-5 accuracy say something."""


def measure(scores: Scores, labels_N: Labels, probabilities_NC: Probabilities, metric: str) -> tuple[MeasureScore, ...]:
    """Balanced accuracy, macro-F1, AUROC, top-k accuracy with many classes, and the study's metric if it is another.

    `scores` are those of the same predictions. `metric` is a name from `models.metric_names`.
    """
    classes = [entry.name for entry in scores.per_class]
    shown = ["val_balanced_accuracy", "val_macro_f1", AUROC]
    shown += [f"{TOP_K}:{3 if len(classes) < _MANY_CLASSES else 5}"] if len(classes) >= _FEW_CLASSES else []
    shown += [metric] if metric not in (*shown, "val_accuracy", "val_loss") else []
    return tuple(_measured(name, classes, scores, labels_N, probabilities_NC) for name in shown)


def _measured(
    name: str, classes: Sequence[str], scores: Scores, labels_N: Labels, probabilities_NC: Probabilities
) -> MeasureScore:
    kind, argument = split_metric(name)
    interval = None
    if kind == "val_balanced_accuracy":
        value = scores.balanced_accuracy
        interval = wilson(value, effective_images([entry.support for entry in scores.per_class]))
    elif kind == "val_macro_f1":
        value, interval = scores.macro_f1, _macro_f1_interval(scores)
    elif kind == AUROC:
        value = macro_auroc(probabilities_NC, labels_N)
        interval = logit_interval(value, auroc_standard_error(probabilities_NC, labels_N))
    elif kind == TOP_K:
        value = top_k_accuracy(probabilities_NC, labels_N, int(argument))
        interval = wilson(value, len(labels_N))
    else:
        label = bind_metric(name, classes).argument
        entry = scores.per_class[label]
        value = entry.recall if kind == "val_recall" else entry.f1
        interval = recall_interval(scores, label) if kind == "val_recall" else f1_intervals(scores)[label]
    return MeasureScore(name=metric_label(name), value=value, interval=interval)


def recall_interval(scores: Scores, label: int) -> tuple[float, float]:
    """95 % interval of a class's recall."""
    entry = scores.per_class[label]
    return wilson(entry.recall, entry.support)


def f1_intervals(scores: Scores) -> list[tuple[float, float]]:
    """95 % interval of each class's F1."""
    images_C = [0] * len(scores.per_class)
    for truth, answer, count in scores.confusion_cells():
        for label in {truth, answer}:
            images_C[label] += count
    return [f1_interval(entry.f1, images) for entry, images in zip(scores.per_class, images_C, strict=True)]


def top_k_accuracy(probabilities_NC: Probabilities, labels_N: Labels, k: int) -> float:
    """Share of images with fewer than `k` classes more probable than the true one."""
    of_label_N1 = np.take_along_axis(probabilities_NC, labels_N[:, None], axis=1)
    return float(((probabilities_NC > of_label_N1).sum(axis=1) < k).mean())


def auroc_standard_error(probabilities_NC: Probabilities, labels_N: Labels) -> float:
    """Standard error of `macro_auroc`, from the influence of each image on the mean area.

    Of one area it is that of DeLong et al. 1988; the sum over classes holds how the areas depend on one another.
    """
    images, classes = probabilities_NC.shape
    influence_N = np.zeros(images)
    areas = 0
    for label in range(classes):
        is_positive_N = labels_N == label
        positives = int(is_positive_N.sum())
        if not 0 < positives < images:
            continue
        areas += 1
        of_positives, of_negatives = placements(probabilities_NC[:, label], is_positive_N)
        area = of_positives.mean()
        influence_N[is_positive_N] += (of_positives - area) / positives
        influence_N[~is_positive_N] += (of_negatives - area) / (images - positives)
    return float(np.sqrt(np.square(influence_N).sum())) / areas if areas else 0.0


def _macro_f1_interval(scores: Scores) -> tuple[float, float]:
    """Percentiles over resampled images (Efron 1979), drawn with a fixed seed."""
    truths_K, answers_K, counts_K = np.array(list(scores.confusion_cells())).T
    generator = np.random.default_rng(0)
    classes = len(scores.per_class)
    drawn = []
    for _ in range(_RESAMPLES):
        weights_K = generator.multinomial(scores.images, counts_K / counts_K.sum())
        seen_C = np.bincount(truths_K, weights_K, classes) + np.bincount(answers_K, weights_K, classes)
        hits_C = np.bincount(truths_K, weights_K * (truths_K == answers_K), classes)
        drawn.append(float((2 * hits_C / np.maximum(seen_C, 1)).mean()))
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return low, high
