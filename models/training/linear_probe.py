"""A linear classifier fitted to stored features, with a small search over its weight decay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHT_DECAYS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""From strong to weak, for features of variance 1 and the mean cross-entropy."""
_CONSTANT = 1e-4
"""A feature is taken for constant if its standard deviation is at most this share of its mean: float32 cannot tell such
values apart well enough once the scale is a part of the weights."""
_MOST_STEPS = 60
"""Most L-BFGS steps of each fit; a fit begins with the weights of the one before."""


@dataclass(frozen=True, eq=False)
class FittedProbe:
    """A linear classifier on unscaled features."""

    head: nn.Linear
    weight_decay: float
    train_loss: float
    """Mean cross-entropy, without the penalty."""
    train_accuracy: float


def fit_probes(
    features_NF: Tensor,
    labels_N: Tensor,
    classes: int,
    judge: Callable[[nn.Linear], tuple[float, ...]],
    *,
    on_step: Callable[[], None] = lambda: None,
) -> FittedProbe:
    """Fit a classifier by L-BFGS for each weight decay, and return the one for which `judge` returns most.

    Of equal ones the more strongly regularised is returned. Features are float32 of shape (N, F), scaled to variance 1
    for the fit. The result depends on no seed. `on_step` is called after each evaluation of the loss.
    """
    mean_F = features_NF.mean(dim=0)
    std_F = features_NF.std(dim=0, correction=0)
    # A constant feature says nothing. The features of a network with random weights may all be tiny.
    varies_F = std_F > mean_F.abs() * _CONSTANT + torch.finfo(std_F.dtype).tiny
    scale_F = torch.where(varies_F, 1 / std_F, 0.0)
    scaled_NF = (features_NF - mean_F) * scale_F
    weight_CF = torch.zeros(classes, features_NF.shape[1], device=features_NF.device, requires_grad=True)
    bias_C = torch.zeros(classes, device=features_NF.device, requires_grad=True)
    best: FittedProbe | None = None
    best_score: tuple[float, ...] = (-math.inf,)
    for weight_decay in WEIGHT_DECAYS:
        _minimise(scaled_NF, labels_N, weight_CF, bias_C, weight_decay, on_step)
        with torch.no_grad():
            head = nn.Linear(features_NF.shape[1], classes, device=features_NF.device)
            head.weight.copy_(weight_CF * scale_F)
            head.bias.copy_(bias_C - head.weight @ mean_F)
            logits_NC = head(features_NF)
            loss = float(F.cross_entropy(logits_NC, labels_N))
            accuracy = float((logits_NC.argmax(dim=1) == labels_N).double().mean())
        score = judge(head)
        if best is None or score > best_score:
            best, best_score = FittedProbe(head, weight_decay, loss, accuracy), score
    assert best is not None
    return best


def _minimise(
    scaled_NF: Tensor,
    labels_N: Tensor,
    weight_CF: Tensor,
    bias_C: Tensor,
    weight_decay: float,
    on_step: Callable[[], None],
) -> None:
    """Change weights and biases to the minimum of the penalised mean cross-entropy."""
    optimizer = torch.optim.LBFGS(
        [weight_CF, bias_C], max_iter=_MOST_STEPS, tolerance_grad=1e-5, tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(scaled_NF, weight_CF, bias_C), labels_N)
        loss = loss + weight_decay / 2 * weight_CF.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        on_step()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
