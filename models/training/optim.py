"""Optimisers by name, each in its fastest implementation."""

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
"""Key of a parameter group: its learning rate as a multiple of the configured one."""
_DECAYS = "decays"
"""Key of a parameter group: whether it has weight decay."""
_PLACED = ("lr", "capturable", "fused", "foreach")
"""Keys of a parameter group that depend on the device, so that they are not restored from a checkpoint."""


def _eager(kind: type[Kind]) -> type[Kind]:
    """The same optimiser without the wrappers for torch's compiler, which Sieve does not use.

    The wrappers import the compiler at their first call in every process, which takes as long as importing torch itself
    on one core.
    """
    wrapped = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in wrapped}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


Adam, AdamW = _eager(torch_optim.Adam), _eager(torch_optim.AdamW)
NAdam, RAdam, SGD = _eager(torch_optim.NAdam), _eager(torch_optim.RAdam), _eager(torch_optim.SGD)


def build_optimizer(
    model: nn.Module, config: TrainConfig, *, capturable: bool = False, decays: bool = True
) -> Optimizer:
    """The configured optimiser over the trained parameters of `model`.

    With `capturable`, its state is complete from the start and kept in tensors on the device, so that a captured step
    can read and write it. Without `decays`, the caller applies weight decay with `decay_weights`.

    Weight decay is not applied to vectors, i.e. norms and biases (He et al. 2019, Bag of Tricks, section 3.1). It is
    decoupled in AdamW (Loshchilov and Hutter 2019) and added to the gradient in the others.
    """
    groups = _parameter_groups(model, config.weight_decay) if decays else _undecayed_groups(model)
    # The learning rate is set before each step, see `set_learning_rate` and `read_rates_from`.
    optimizer: Optimizer
    match config.optimizer:
        case "adam":
            optimizer = Adam(groups, fused=True, capturable=capturable)
        case "adamw":
            optimizer = AdamW(groups, fused=True, capturable=capturable)
        case "nadam":
            optimizer = NAdam(groups, foreach=True, capturable=capturable)
        case "radam":
            optimizer = RAdam(groups, foreach=True, capturable=capturable)
        case "sgd":
            # torch refuses Nesterov's correction without momentum, which would be plain SGD.
            nesterov = config.nesterov and config.momentum > 0
            # The fused implementation fails if a parameter gets its first gradient later than others.
            fused = capturable or not isinstance(model, FineTuned)
            optimizer = SGD(groups, momentum=config.momentum, nesterov=nesterov, fused=fused, foreach=not fused)
    if capturable:
        _create_state(optimizer)
    return optimizer


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Use this learning rate from the next step on, multiplied by each group's own multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group[_RATE]


def rate_multipliers(optimizer: Optimizer) -> list[float]:
    """The learning rate of each parameter group as a multiple of the configured one."""
    return [group[_RATE] for group in optimizer.param_groups]


def read_rates_from(optimizer: Optimizer, rates_G: Tensor) -> None:
    """Let each step read the learning rates of the parameter groups from this tensor."""
    for group, rate in zip(optimizer.param_groups, rates_G, strict=True):
        group["lr"] = rate


@torch.no_grad()
def decay_weights(optimizer: Optimizer, weight_decay: Tensor) -> None:
    """Apply weight decay, a scalar tensor, as torch would, before a step of an optimiser built with `decays=False`."""
    for group in optimizer.param_groups:
        learning = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not group[_DECAYS] or not learning:
            continue
        if isinstance(optimizer, AdamW):
            torch._foreach_mul_(learning, 1 - group["lr"] * weight_decay)
        else:
            shares = torch._foreach_mul(learning, weight_decay)
            torch._foreach_add_([parameter.grad for parameter in learning], shares)


def optimizer_tensors(optimizer: Optimizer) -> list[Tensor]:
    """The tensors that a step of a capturable optimiser changes, except for the weights."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


def restore_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Load a state that was saved on any device; the optimiser keeps its implementation and the source of its rates."""
    own = [{key: group[key] for key in _PLACED if key in group} for group in optimizer.param_groups]
    fresh = dict(optimizer.state)
    groups = [{**group, **mine} for group, mine in zip(saved["param_groups"], own, strict=True)]
    optimizer.load_state_dict({**saved, "param_groups": groups})
    for group, mine in zip(optimizer.param_groups, own, strict=True):
        group.update(mine)
    for parameter, state in fresh.items():
        optimizer.state[parameter] = optimizer.state.get(parameter) or state


def reset_state(optimizer: Optimizer) -> None:
    """Reset the state of a capturable optimiser to that before its first step, in the same tensors."""
    for state in optimizer.state.values():
        for name, value in state.items():
            value.fill_(1.0 if name == "mu_product" else 0.0)  # NAdam's product of momentum coefficients starts at 1.


def _create_state(optimizer: Optimizer) -> None:
    """Give every parameter the optimiser state that it has before its first step.

    torch creates the state in the first step, and a capture would repeat that in every replay. A step with learning
    rate 0 creates it without changing the weights.
    """
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    reset_state(optimizer)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    rates = model.rate_multipliers() if isinstance(model, FineTuned) else {}
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((rates.get(parameter, 1.0), decay), []).append(parameter)
    return [{"params": group, "weight_decay": decay, _RATE: rate} for (rate, decay), group in groups.items()]


def _undecayed_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups without torch's weight decay; their key `_DECAYS` says whether `decay_weights` applies it."""
    groups = _parameter_groups(model, 1.0)
    return [{**group, "weight_decay": 0.0, _DECAYS: group["weight_decay"] > 0} for group in groups]
