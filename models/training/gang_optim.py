"""One optimiser for many trainings: torch computes a step of rate 1 for all, each scales it by its own rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from models.config import TrainConfig
from models.training.optim import build_optimizer, set_learning_rate


class GangOptimizer:
    """Steps stacked parameters of shape (slots, ...), in place, as `build_optimizer`'s would step each slot.

    Every optimiser's step is proportional to the learning rate and, but for weight decay, goes element by element: it
    is taken from 0, with rate 1 and without decay, and then scaled. `configs` are the slots'; optimiser and momentum
    are the same in all.
    """

    def __init__(self, weights: Mapping[str, Tensor], configs: Sequence[TrainConfig]) -> None:
        self._weights = list(weights.values())
        self._configs = list(configs)
        self._moves = nn.ParameterList(torch.zeros_like(stack) for stack in self._weights)
        self._optimizer = build_optimizer(self._moves, replace(configs[0], weight_decay=0.0))
        set_learning_rate(self._optimizer, 1.0)
        device = self._weights[0].device
        self._decay_G = torch.tensor([config.weight_decay for config in configs], device=device)
        clip = [config.gradient_clip or float("inf") for config in configs]
        self._clip_G = torch.tensor(clip, device=device) if any(config.gradient_clip for config in configs) else None

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rates: Sequence[float]) -> None:
        """Take one step; `gradients` are those of `weights`, `rates` the slots' learning rates."""
        rate_G = torch.tensor(rates, device=self._decay_G.device)
        scale_G = self._clip_scale(gradients)
        decoupled = self._configs[0].optimizer == "adamw"
        for move, weight, gradient in zip(self._moves, self._weights, gradients, strict=True):
            if scale_G is not None:
                gradient = gradient * _over(scale_G, gradient)
            if weight.ndim >= 3 and not decoupled:  # matrices alone decay, as in `build_optimizer`
                gradient = gradient + weight * _over(self._decay_G, weight)
            move.grad = gradient.contiguous()  # as fused optimisers take for granted
        self._optimizer.step()
        for move, weight in zip(self._moves, self._weights, strict=True):
            if weight.ndim >= 3 and decoupled:
                weight.mul_(_over(1 - rate_G * self._decay_G, weight))
            weight.addcmul_(move, _over(rate_G, weight))
            move.zero_()

    def of_slots(self, kept: Sequence[int], weights: Mapping[str, Tensor]) -> GangOptimizer:
        """The optimiser as it is now, of some slots alone; `weights` are theirs."""
        fewer = GangOptimizer(weights, [self._configs[position] for position in kept])
        state = self._optimizer.state_dict()
        for entry in state["state"].values():
            for name, value in entry.items():
                if value.ndim:  # the count of steps is one for all
                    entry[name] = value[list(kept)]
        fewer._optimizer.load_state_dict(state)
        return fewer

    def _clip_scale(self, gradients: Sequence[Tensor]) -> Tensor | None:
        """By what each slot's gradients are multiplied, as torch's `clip_grad_norm_` does."""
        if self._clip_G is None:
            return None
        squares = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients])
        return (self._clip_G / (squares.sum(dim=0).sqrt() + 1e-6)).clamp(max=1.0)


def _over(values_G: Tensor, stack: Tensor) -> Tensor:
    return values_G.view(-1, *(1,) * (stack.ndim - 1))
