"""Measures beyond accuracy: their values are scikit-learn's, and their intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score, roc_auc_score, top_k_accuracy_score

from search.verdict.intervals import effective_images, f1_interval, logit_interval, wilson
from search.verdict.measures import auroc_standard_error, measure
from search.verdict.scores import score

CLASSES = tuple("abcdef")


def draw(images: int, seed: int, sharpness: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels_N = generator.choice(6, images, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])
    logits_NC = generator.normal(size=(images, 6)) + sharpness * np.eye(6)[labels_N]
    exponents_NC = np.exp(logits_NC)
    return labels_N, exponents_NC / exponents_NC.sum(axis=1, keepdims=True)


def measured(labels_N: np.ndarray, probabilities_NC: np.ndarray, metric: str = "val_accuracy") -> dict:
    scores = score(labels_N, probabilities_NC.argmax(axis=1), CLASSES)
    return {entry.name: entry for entry in measure(scores, labels_N, probabilities_NC, metric)}


def test_the_values_agree_with_scikit_learn() -> None:
    labels_N, probabilities_NC = draw(300, seed=0)
    answers_N = probabilities_NC.argmax(axis=1)
    found = measured(labels_N, probabilities_NC)
    assert {name: entry.value for name, entry in found.items()} == pytest.approx(
        {
            "balanced accuracy": balanced_accuracy_score(labels_N, answers_N),
            "macro-F1": f1_score(labels_N, answers_N, average="macro"),
            "AUROC": roc_auc_score(labels_N, probabilities_NC, multi_class="ovr"),
            "top-3 accuracy": top_k_accuracy_score(labels_N, probabilities_NC, k=3),
        }
    )
    recall, f1 = (measured(labels_N, probabilities_NC, name) for name in ("val_recall:b", "val_f1:b"))
    assert recall["recall of b"].value == pytest.approx(recall_score(labels_N == 1, answers_N == 1))
    assert f1["F1 of b"].value == pytest.approx(f1_score(labels_N == 1, answers_N == 1))


def test_the_intervals_hold_the_value_of_many_images_as_often_as_they_say() -> None:
    truth = measured(*draw(100_000, seed=1), "val_f1:b")
    hits, studies = dict.fromkeys(truth, 0), 120
    for seed in range(studies):
        for name, entry in measured(*draw(200, seed=100 + seed), "val_f1:b").items():
            low, high = entry.interval
            hits[name] += low <= truth[name].value <= high
    # 95 % of 120 is 114; fewer than 107 has a probability of 0.6 %.
    assert min(hits.values()) >= 107, hits


def test_an_interval_of_shares_is_wilsons() -> None:
    expected = binomtest(17, 20).proportion_ci(0.95, method="wilson")
    assert wilson(17 / 20, 20) == pytest.approx((expected.low, expected.high))
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_perfect_answers_of_few_images_leave_doubt() -> None:
    labels_N = np.repeat(np.arange(6), 4)
    found = measured(labels_N, np.eye(6)[labels_N] * 0.9 + 0.02)
    assert found["balanced accuracy"].value == 1
    assert found["balanced accuracy"].interval == pytest.approx(wilson(1.0, 24))
    assert found["AUROC"].interval is None, "every order is perfect, which gives no spread"
    assert f1_interval(1.0, 4)[0] < 0.8


def test_few_images_of_a_class_weigh_on_balanced_accuracy() -> None:
    assert effective_images([50, 50]) == pytest.approx(100)
    assert effective_images([99, 1, 0]) == pytest.approx(4 / (1 / 99 + 1))


def test_the_standard_error_of_an_area_is_delongs() -> None:
    labels_N, probabilities_NC = draw(80, seed=3)
    two_NC = np.stack([1 - probabilities_NC[:, 0], probabilities_NC[:, 0]], axis=1)
    is_positive_N = labels_N == 0
    # DeLong et al. 1988, equation 3, without the correction of the sample variances for their means.
    positives, negatives = two_NC[is_positive_N, 1], two_NC[~is_positive_N, 1]
    wins = (positives[:, None] > negatives[None]).astype(float)
    variance = wins.mean(axis=1).var() / len(positives) + wins.mean(axis=0).var() / len(negatives)
    assert auroc_standard_error(two_NC, is_positive_N.astype(np.int64)) == pytest.approx(np.sqrt(variance))
    assert logit_interval(1.0, 0.1) is None
