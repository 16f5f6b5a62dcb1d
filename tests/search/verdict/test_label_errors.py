"""Probable label errors: ranked by confident learning from out-of-fold probabilities."""

from __future__ import annotations

import numpy as np

from search.verdict.label_errors import rank_label_errors

CLASSES = ("ant", "bee", "cat")


def _probabilities(labels_N: np.ndarray, sharp: float, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(len(labels_N), len(CLASSES)))
    logits[np.arange(len(labels_N)), labels_N] += sharp
    exp = np.exp(logits)
    return (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)


def test_flipped_labels_come_first() -> None:
    draw = np.random.default_rng(1)
    truth_N = draw.integers(0, 3, 1000)
    flipped = draw.choice(1000, 50, replace=False)
    given_N = truth_N.copy()
    given_N[flipped] = (truth_N[flipped] + draw.integers(1, 3, 50)) % 3
    names = [f"{n}.png" for n in range(1000)]
    errors = rank_label_errors(given_N, _probabilities(truth_N, 4.0), names, CLASSES)
    found = {int(error.name[:-4]) for error in errors[:50]}
    assert len(found & {*flipped.tolist()}) >= 40
    first = errors[0]
    row = int(first.name[:-4])
    assert (first.label, first.suggestion) == (CLASSES[given_N[row]], CLASSES[truth_N[row]])
    assert first.is_confident and first.suggested_probability > first.own_probability


def test_a_set_that_the_networks_agree_with_has_no_errors() -> None:
    labels_N = np.arange(30) % 3
    probabilities = np.eye(3, dtype=np.float32)[labels_N] * 0.8 + 0.2 / 3
    assert rank_label_errors(labels_N, probabilities, ["x"] * 30, CLASSES) == []


def test_a_class_without_images_does_no_harm() -> None:
    labels_N = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.1, 0.7], [0.1, 0.9, 0], [0.6, 0.4, 0]], np.float32)
    errors = rank_label_errors(labels_N, probabilities, list("wxyz"), CLASSES)
    assert [(error.name, error.suggestion, error.is_confident) for error in errors] == [
        ("x", "cat", False),
        ("z", "ant", True),
    ]
