from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F

from models.training.linear_probe import WEIGHT_DECAYS, fit_probes


def blobs(images: int, *, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three classes in 20 dimensions, of very different scales; the last dimension is constant."""
    generator = torch.Generator().manual_seed(seed)
    centres_CF = torch.randn(3, 20, generator=torch.Generator().manual_seed(9))
    labels_N = torch.arange(images) % 3
    features_NF = centres_CF[labels_N] + noise * torch.randn(images, 20, generator=generator)
    features_NF[:, -1] = 4.0
    return features_NF * torch.logspace(-3, 3, 20), labels_N


def loss_of(head: nn.Linear, features_NF: Tensor, labels_N: Tensor) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(head(features_NF), labels_N))


def test_the_fit_is_that_of_scikit_learn() -> None:
    features_NF, labels_N = blobs(90, noise=1.5)
    seen = []

    def judge(head: nn.Linear) -> tuple[float, ...]:
        seen.append(head)
        return (0.0,)

    fit_probes(features_NF, labels_N, 3, judge)
    std_F = features_NF.std(dim=0, correction=0)
    scaled = ((features_NF - features_NF.mean(dim=0)) / std_F.where(std_F > 1e-6, torch.ones(()))).numpy()
    for weight_decay, head in zip(WEIGHT_DECAYS[:4], seen, strict=False):
        reference = LogisticRegression(C=1 / (90 * weight_decay), max_iter=5000, tol=1e-8).fit(scaled, labels_N)
        theirs = torch.from_numpy(reference.predict_proba(scaled)).float()
        with torch.no_grad():
            ours = head(features_NF).softmax(dim=1)
        assert torch.allclose(ours, theirs, atol=2e-3)


def test_the_weight_decay_is_chosen_by_the_judge() -> None:
    train_NF, train_N = blobs(30, noise=3.0)
    val_NF, val_N = blobs(600, noise=3.0, seed=1)
    losses = []

    def judge(head: nn.Linear) -> tuple[float, ...]:
        losses.append(loss_of(head, val_NF, val_N))
        return (-losses[-1],)

    probe = fit_probes(train_NF, train_N, 3, judge)
    assert probe.weight_decay == WEIGHT_DECAYS[losses.index(min(losses))]
    assert loss_of(probe.head, val_NF, val_N) == min(losses) < losses[-1]
    assert loss_of(probe.head, train_NF, train_N) == pytest.approx(probe.train_loss)


def test_of_equal_results_the_more_regularised_is_kept() -> None:
    features_NF, labels_N = blobs(30, noise=0.1)
    assert fit_probes(features_NF, labels_N, 3, lambda head: (1.0,)).weight_decay == WEIGHT_DECAYS[0]


def test_each_evaluation_of_the_loss_is_a_sign_of_progress() -> None:
    steps = []
    fit_probes(*blobs(30, noise=1.0), 3, lambda head: (1.0,), on_step=lambda: steps.append(1))
    assert len(steps) >= len(WEIGHT_DECAYS)
