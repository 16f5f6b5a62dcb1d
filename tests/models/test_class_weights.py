from __future__ import annotations

import pytest
import torch

from data.errors import InfeasibleConfig, UserError
from models.config import FlexCNNConfig
from models.training.class_weights import class_weights, effective_number, inverse_frequency
from models.values import from_flat, to_flat, with_values

LABELS = torch.tensor([0] * 200 + [1] * 10)


def test_inverse_frequency_weights_every_class_equally_and_averages_to_1() -> None:
    weights = inverse_frequency(LABELS, 2)

    assert weights[1] / weights[0] == pytest.approx(20)
    assert weights[LABELS].mean().item() == pytest.approx(1)


def test_a_class_without_images_weighs_nothing() -> None:
    assert inverse_frequency(torch.tensor([0, 0, 2]), 4).tolist() == [0.75, 0, 1.5, 0]
    assert effective_number(torch.tensor([0, 0, 2]), 4, 0.9)[[1, 3]].tolist() == [0, 0]


def test_the_effective_number_lies_between_equal_weights_and_inverse_frequency() -> None:
    """Cui et al. 2019, equation 2: with beta 0.99, 200 images count as 86.6 and 10 as 9.6."""
    weights = effective_number(LABELS, 2, 0.99)

    assert weights[1] / weights[0] == pytest.approx((1 - 0.99**200) / (1 - 0.99**10))
    assert weights[LABELS].mean().item() == pytest.approx(1)
    assert effective_number(LABELS, 2, 0.0).tolist() == [1, 1]
    torch.testing.assert_close(effective_number(LABELS, 2, 1 - 1e-9), inverse_frequency(LABELS, 2))


def test_given_weights_are_taken_as_they_are_and_survive_being_flat() -> None:
    config = with_values(FlexCNNConfig(), {"class_weights": "1, 20"})

    assert from_flat(to_flat(config)) == config
    weights = class_weights(config, LABELS, 2)
    assert weights is not None and weights.tolist() == [1, 20]


def test_weights_that_are_not_one_per_class_cannot_be_trained_with() -> None:
    with pytest.raises(InfeasibleConfig, match="class_weights=1,20: 2 weights for 3 classes; give one per class"):
        class_weights(FlexCNNConfig(class_weights=(1.0, 20.0)), LABELS, 3)


def test_a_misspelled_weighting_is_answered_with_what_there_is() -> None:
    with pytest.raises(
        UserError, match="class_weights='inverse': give one of none, inverse_frequency, effective_number or"
    ):
        with_values(FlexCNNConfig(), {"class_weights": "inverse"})
