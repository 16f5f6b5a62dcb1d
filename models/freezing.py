"""Which part of a backbone learns in which epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from models.config import BackboneConfig


class Share(NamedTuple):
    """Numbers of parameters."""

    learning: int
    total: int


def frozen_children(config: BackboneConfig, epoch: int, has_parameters: Sequence[bool]) -> int:
    """How many of the first children are frozen in an epoch, counted from 1.

    `has_parameters` says it of each child, in order. The number never grows from one epoch to the next. More children
    asked for than there are means all of them.
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
    waiting = math.floor(config.head_epochs * config.epochs)
    if epoch <= waiting:
        return children
    if config.freezing == "head_first":
        return 0
    # Spread evenly over the epochs that are left, so that in the last one everything learns.
    thawed = math.ceil(sum(has_parameters) * (epoch - waiting) / (config.epochs - waiting))
    return _before_last(thawed, has_parameters)


def learning_share(model: nn.Module) -> Share:
    """How many of a network's parameters learn, as it is frozen now, and how many it has."""
    return Share(
        learning=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        total=sum(parameter.numel() for parameter in model.parameters()),
    )


def _before_last(learning: int, has_parameters: Sequence[bool]) -> int:
    """Children before the last `learning` ones that have parameters; 0 if that is all of them."""
    positions = [index for index, has_some in enumerate(has_parameters) if has_some]
    return positions[-learning] if learning < len(positions) else 0
