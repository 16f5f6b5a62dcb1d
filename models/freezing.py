"""The part of a backbone that is trained in each epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from models.config import BackboneConfig


class Share(NamedTuple):
    """The number of trained parameters, and of all parameters."""

    learning: int
    total: int


def frozen_children(config: BackboneConfig, epoch: int, has_parameters: Sequence[bool]) -> int:
    """The number of first children that are frozen in an epoch, counted from 1.

    `has_parameters` says for each child, in order, whether it has parameters. The number never grows from one epoch to
    the next. A configured number that exceeds the number of children stands for all of them.
    """
    children = len(has_parameters)
    match config.freezing:
        case "freeze_all":
            return children
        case "freeze_partial":
            return _before_last(config.trainable_children, has_parameters)
        case "freeze_first":
            return min(config.frozen_children, children)
        case "unfreeze_all":
            return 0
    # Short trainings have a phase of the head, too: a new head's gradients would change the backbone most at the start.
    least = 1 if config.head_epochs and config.epochs > 1 else 0
    waiting = max(least, math.floor(config.head_epochs * config.epochs))
    if epoch <= waiting:
        return children
    if config.freezing == "head_first":
        return 0
    # Unfreeze evenly over the remaining epochs, so that everything is trained in the last epoch.
    thawed = math.ceil(sum(has_parameters) * (epoch - waiting) / (config.epochs - waiting))
    return _before_last(thawed, has_parameters)


def learning_share(model: nn.Module) -> Share:
    """The number of a network's parameters that are trained, given what is frozen now, and of all its parameters."""
    return Share(
        learning=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        total=sum(parameter.numel() for parameter in model.parameters()),
    )


def _before_last(learning: int, has_parameters: Sequence[bool]) -> int:
    """The number of children before the last `learning` children with parameters; 0 if there are not more of them."""
    positions = [index for index, has_some in enumerate(has_parameters) if has_some]
    return positions[-learning] if learning < len(positions) else 0
