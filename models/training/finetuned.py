"""What a network that learns only in part tells the training core; a plain network needs none of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn


class WeightedLogits(NamedTuple):
    """One output of a network, and what its loss counts in the sum."""

    weight: float
    logits_NC: Tensor


@runtime_checkable
class FineTuned(Protocol):
    """A network whose parts learn at different times and rates, and may have auxiliary outputs in training."""

    def begin_epoch(self, epoch: int) -> None:
        """Freeze what does not learn in this epoch, counted from 1; what learns once, learns in all later epochs."""

    def training_logits(self, images_NCHW: Tensor) -> list[WeightedLogits]:
        """The logits, with weight 1, and after them those of the auxiliary outputs."""

    def rate_multipliers(self) -> dict[nn.Parameter, float]:
        """Each parameter's learning rate over the configured one."""


def training_outputs(model: nn.Module) -> Callable[[Tensor], list[WeightedLogits]]:
    """What gives the outputs of any network, those that are learned from only included, for images_NCHW."""
    if isinstance(model, FineTuned):
        return model.training_logits
    return lambda images_NCHW: [WeightedLogits(1.0, model(images_NCHW))]
