from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from data.batches import Batch
from models.training.loss import inverse_frequency, training_loss

LOGITS = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0, 1, 0, 0, 0])
OTHERS = LABELS.roll(1)
WEIGHTS = torch.tensor([0.3, 1.0, 2.0, 5.0])
IMAGES = torch.empty(12, 1, 1, 1)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_loss_is_that_of_torch(label_smoothing: float, weights: torch.Tensor | None) -> None:
    ours = training_loss(LOGITS, Batch(IMAGES, LABELS), class_weights_C=weights, label_smoothing=label_smoothing)

    assert ours == F.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=label_smoothing)


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


def test_inverse_frequency_gives_every_class_the_same_say_and_averages_to_1() -> None:
    labels = torch.tensor([0] * 200 + [1] * 10)

    weights = inverse_frequency(labels, 2)

    assert weights[1] / weights[0] == pytest.approx(20)
    assert weights[labels].mean().item() == pytest.approx(1)


def test_a_class_without_images_weighs_nothing() -> None:
    assert inverse_frequency(torch.tensor([0, 0, 2]), 4).tolist() == [0.75, 0, 1.5, 0]
