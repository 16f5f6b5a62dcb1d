"""A moving average of the weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of a network's weights and batch-norm statistics, updated once per step.

    The decay of update t is min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage with a step
    count, so that the random initial weights matter little after a short training. torch's AveragedModel is not used
    because it reads its counter from the device in every step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = deepcopy(model).requires_grad_(False).eval()
        self._decay = decay
        self._averages, self._others = _tensors(self.model)

    def restart(self, model: nn.Module, decay: float) -> None:
        """Start again from the weights of this network, which has the same shape, in the same tensors."""
        self.model.load_state_dict(model.state_dict())
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the weights of `model` after step `step`, counted from 0."""
        weights, counters = _tensors(model)
        torch._foreach_lerp_(self._averages, weights, self.weight_at(step))
        for own, other in zip(self._others, counters, strict=True):
            own.copy_(other)

    def weight_at(self, step: int) -> float:
        """The weight with which step `step` moves the average towards the network's weights, from 0 to 1."""
        return 1 - min(self._decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def move(self, model: nn.Module, weight: Tensor) -> None:
        """`update` with a weight that is a scalar tensor on the device."""
        weights, counters = _tensors(model)
        # lerp with a tensor weight would need one of each average's size.
        ways = torch._foreach_sub(weights, self._averages)
        torch._foreach_mul_(ways, weight)
        torch._foreach_add_(self._averages, ways)
        if counters:
            torch._foreach_copy_(self._others, counters)

    def tensors(self) -> list[Tensor]:
        """The tensors that an update changes."""
        return [*self._averages, *self._others]


def _tensors(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters and buffers: those that can be averaged, and those that can only be copied."""
    tensors = [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
    averageable = [tensor for tensor in tensors if tensor.is_floating_point()]
    return averageable, [tensor for tensor in tensors if not tensor.is_floating_point()]
