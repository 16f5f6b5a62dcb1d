"""The interface between the training core and a partly frozen network. Other networks need not implement it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn


class WeightedLogits(NamedTuple):
    """One output of a network, with the weight of its loss in the sum."""

    weight: float
    logits_NC: Tensor


@runtime_checkable
class FineTuned(Protocol):
    """A network whose layers are trained at different times and rates, and may have auxiliary outputs in training."""

    def begin_epoch(self, epoch: int) -> None:
        """Freeze the layers that are not trained in this epoch, counted from 1. Trained layers stay trained."""

    def training_logits(self, images_NCHW: Tensor) -> list[WeightedLogits]:
        """The logits, with weight 1, followed by the auxiliary logits."""

    def rate_multipliers(self) -> dict[nn.Parameter, float]:
        """Each parameter's learning rate as a multiple of the configured one."""


def training_outputs(model: nn.Module) -> Callable[[Tensor], list[WeightedLogits]]:
    """A function from images_NCHW to all outputs that the loss uses, for any network."""
    if isinstance(model, FineTuned):
        return model.training_logits
    return lambda images_NCHW: [WeightedLogits(1.0, model(images_NCHW))]
