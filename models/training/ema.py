"""A moving average of the weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of a network's weights and batch-norm statistics, updated once a step.

    The decay of update t is min(decay, (1 + t) / (10 + t)), as TensorFlow's ExponentialMovingAverage does with a step
    count: a short training is not held back by its random start. torch's AveragedModel is not used because it reads its
    counter back from the device at every step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = deepcopy(model).requires_grad_(False).eval()
        self._decay = decay
        self._averages, self._others = _tensors(self.model)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the weights of `model` after step `step`, counted from 0."""
        weights, counters = _tensors(model)
        torch._foreach_lerp_(self._averages, weights, 1 - min(self._decay, (1 + step) / (10 + step)))
        for own, other in zip(self._others, counters, strict=True):
            own.copy_(other)


def _tensors(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters and buffers: what can be averaged, and what only can be copied."""
    tensors = [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
    averageable = [tensor for tensor in tensors if tensor.is_floating_point()]
    return averageable, [tensor for tensor in tensors if not tensor.is_floating_point()]
