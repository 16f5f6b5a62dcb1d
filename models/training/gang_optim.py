"""One optimiser for several trainings: torch computes a step of learning rate 1, and each slot scales it by its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from models.config import TrainConfig
from models.training.optim import build_optimizer, set_learning_rate


class GangOptimizer:
    """Steps stacked parameters of shape (slots, ...) in place, each slot as an optimiser of `build_optimizer` would.

    Every optimiser's step is proportional to the learning rate and, except for weight decay, element-wise. So it is
    taken from 0, with learning rate 1 and without decay, and then scaled. `configs` are those of the slots, with the
    same optimiser and momentum.
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
        """Take one step with the gradients of the weights; `rates` are the slots' learning rates."""
        rate_G = torch.tensor(rates, device=self._decay_G.device)
        scale_G = self._clip_scale(gradients)
        decoupled = self._configs[0].optimizer == "adamw"
        for move, weight, gradient in zip(self._moves, self._weights, gradients, strict=True):
            if scale_G is not None:
                gradient = gradient * _over(scale_G, gradient)
            if weight.ndim >= 3 and not decoupled:  # Only matrices decay, as in `build_optimizer`.
                gradient = gradient + weight * _over(self._decay_G, weight)
            move.grad = gradient.contiguous()  # Fused optimisers require it.
        self._optimizer.step()
        for move, weight in zip(self._moves, self._weights, strict=True):
            if weight.ndim >= 3 and decoupled:
                weight.mul_(_over(1 - rate_G * self._decay_G, weight))
            weight.addcmul_(move, _over(rate_G, weight))
            move.zero_()

    def of_slots(self, kept: Sequence[int], weights: Mapping[str, Tensor]) -> GangOptimizer:
        """An optimiser with the current state of some of the slots, for their weights."""
        fewer = GangOptimizer(weights, [self._configs[position] for position in kept])
        state = self._optimizer.state_dict()
        for entry in state["state"].values():
            for name, value in entry.items():
                if value.ndim:  # The count of steps is a scalar that all slots share.
                    entry[name] = value[list(kept)]
        fewer._optimizer.load_state_dict(state)
        return fewer

    def _clip_scale(self, gradients: Sequence[Tensor]) -> Tensor | None:
        """The factor for each slot's gradients, as in torch's `clip_grad_norm_`; None without clipping."""
        if self._clip_G is None:
            return None
        squares = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients])
        return (self._clip_G / (squares.sum(dim=0).sqrt() + 1e-6)).clamp(max=1.0)


def _over(values_G: Tensor, stack: Tensor) -> Tensor:
    return values_G.view(-1, *(1,) * (stack.ndim - 1))
