from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from data.batches import Batch
from models.training.loss import training_loss

LOGITS = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0, 1, 0, 0, 0])
OTHERS = LABELS.roll(1)
WEIGHTS = torch.tensor([0.3, 1.0, 2.0, 5.0])
IMAGES = torch.empty(12, 1, 1, 1)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_loss_is_that_of_torch(label_smoothing: float, weights: torch.Tensor | None) -> None:
    ours = training_loss(LOGITS, Batch(IMAGES, LABELS), class_weights_C=weights, label_smoothing=label_smoothing)

    theirs = F.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=label_smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_batch_mixed_with_itself_or_by_nothing_has_the_loss_of_the_plain_batch(
    label_smoothing: float, weights: torch.Tensor | None
) -> None:
    arguments = {"class_weights_C": weights, "label_smoothing": label_smoothing}
    plain = training_loss(LOGITS, Batch(IMAGES, LABELS), **arguments)

    with_itself = training_loss(LOGITS, Batch(IMAGES, LABELS, LABELS, torch.rand(12)), **arguments)
    by_nothing = training_loss(LOGITS, Batch(IMAGES, LABELS, OTHERS, torch.ones(12)), **arguments)

    torch.testing.assert_close(with_itself, plain)
    torch.testing.assert_close(by_nothing, plain)


def test_a_mixed_batch_has_the_cross_entropy_with_the_mixed_label_distributions() -> None:
    mix = torch.rand(12, generator=torch.Generator().manual_seed(1))
    targets = mix[:, None] * F.one_hot(LABELS, 4) + (1 - mix)[:, None] * F.one_hot(OTHERS, 4)

    ours = training_loss(LOGITS, Batch(IMAGES, LABELS, OTHERS, mix), label_smoothing=0.1)

    torch.testing.assert_close(ours, F.cross_entropy(LOGITS, targets, label_smoothing=0.1))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_focal_loss_is_lin_s_formula_with_the_mean_over_the_weights(
    gamma: float, weights: torch.Tensor | None
) -> None:
    probability = LOGITS.softmax(dim=1)[torch.arange(12), LABELS]
    alpha = torch.ones(12) if weights is None else weights[LABELS]

    ours = training_loss(LOGITS, Batch(IMAGES, LABELS), class_weights_C=weights, focal_gamma=gamma)

    torch.testing.assert_close(ours, (-alpha * (1 - probability) ** gamma * probability.log()).sum() / alpha.sum())


def test_the_focal_loss_tends_to_cross_entropy_and_joins_with_mixing() -> None:
    plain = training_loss(LOGITS, Batch(IMAGES, LABELS))
    torch.testing.assert_close(training_loss(LOGITS, Batch(IMAGES, LABELS), focal_gamma=1e-6), plain)

    focal = training_loss(LOGITS, Batch(IMAGES, LABELS), focal_gamma=2.0)
    with_itself = training_loss(LOGITS, Batch(IMAGES, LABELS, LABELS, torch.rand(12)), focal_gamma=2.0)
    torch.testing.assert_close(with_itself, focal)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_of_an_image_that_is_certain_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 1.0]], requires_grad=True)

    training_loss(logits, Batch(IMAGES[:2], torch.tensor([0, 1])), focal_gamma=gamma).backward()

    assert logits.grad is not None and logits.grad.isfinite().all()
