"""Optimisers by name, each in its fastest form."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import optim as torch_optim
from torch.optim import Optimizer

from models.config import TrainConfig
from models.training.finetuned import FineTuned

Kind = TypeVar("Kind", bound=Optimizer)

_RATE = "rate_multiplier"
"""Of a parameter group: its learning rate over the configured one."""


def _eager(kind: type[Kind]) -> type[Kind]:
    """The same optimiser without what makes it known to torch's compiler, which nothing here uses.

    The wrappers around these methods import the compiler when they are first called, in every process: on one core
    that takes as long as importing torch itself.
    """
    wrapped = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in wrapped}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


Adam, AdamW = _eager(torch_optim.Adam), _eager(torch_optim.AdamW)
NAdam, RAdam, SGD = _eager(torch_optim.NAdam), _eager(torch_optim.RAdam), _eager(torch_optim.SGD)


def build_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The configured optimiser over the parameters of `model` that learn.

    Weight decay is not applied to vectors, that is to norms and biases (He et al. 2019, Bag of Tricks, section 3.1). It
    is decoupled for AdamW (Loshchilov and Hutter 2019) and added to the gradient for the others.
    """
    groups = _parameter_groups(model, config.weight_decay)
    # The learning rate is set before each step, see `set_learning_rate`.
    match config.optimizer:
        case "adam":
            return Adam(groups, fused=True)
        case "adamw":
            return AdamW(groups, fused=True)
        case "nadam":
            return NAdam(groups, foreach=True)
        case "radam":
            return RAdam(groups, foreach=True)
        case "sgd":
            # Nesterov's correction of no momentum is plain SGD, which torch asks to be said so.
            nesterov = config.nesterov and config.momentum > 0
            # The fused form fails where a parameter gets its first gradient later than others.
            fused = not isinstance(model, FineTuned)
            return SGD(groups, momentum=config.momentum, nesterov=nesterov, fused=fused, foreach=not fused)


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Use this learning rate from the next step on, and its share where a network has a rate for each depth."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group[_RATE]


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    rates = model.rate_multipliers() if isinstance(model, FineTuned) else {}
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((rates.get(parameter, 1.0), decay), []).append(parameter)
    return [{"params": group, "weight_decay": decay, _RATE: rate} for (rate, decay), group in groups.items()]
