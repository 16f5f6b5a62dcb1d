from __future__ import annotations

import torch
from torch import nn

from models.training.ema import MovingAverage


def test_the_average_follows_the_weights_with_a_decay_that_warms_up() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, decay=0.5)
    expected = 0.0

    for step, weight in enumerate([1.0, 5.0, -3.0] * 10):
        nn.init.constant_(model.weight, weight)
        average.update(model, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight

    torch.testing.assert_close(average.model.weight, torch.full((1, 1), expected))


def test_batch_norm_statistics_are_averaged_and_counters_copied() -> None:
    model = nn.BatchNorm1d(2)
    average = MovingAverage(model, decay=0.9)
    model(torch.full((4, 2), 10.0))
    average.update(model, step=1000)

    torch.testing.assert_close(average.model.running_mean, 0.1 * model.running_mean)
    assert average.model.num_batches_tracked == 1


def test_the_average_is_a_network_of_its_own_that_does_not_learn() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    average = MovingAverage(model, decay=0.9)
    before = average.model[0].weight.clone()
    nn.init.ones_(model[0].weight)

    assert torch.equal(average.model[0].weight, before)
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
