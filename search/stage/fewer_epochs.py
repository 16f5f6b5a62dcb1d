"""A stage whose trials get a share of their epochs, for a time budget that is too short for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

from optuna.distributions import CategoricalDistribution, IntDistribution

from models.config import TrainConfig
from studies.definition import Space, Stage
from studies.overrides import tries_with_epochs


def with_fewer_epochs(stage: Stage, share: float) -> Stage:
    """The stage with this share of its epochs, at least one, also where its space or its tries vary them."""
    if share >= 1:
        return stage
    return replace(
        stage,
        epochs=_share_of(stage.epochs, share),
        space=_space_with_fewer_epochs(stage, share),
        tries=tries_with_epochs(stage.tries, partial(_share_of, share=share)),
    )


def _share_of(epochs: int, share: float) -> int:
    """The epochs times the share, at least one; a share that was made of epochs, such as 15 / 22, gives those again."""
    return max(1, math.floor(epochs * share + 1e-9))


def _space_with_fewer_epochs(stage: Stage, share: float) -> Callable[[TrainConfig], Space]:

    def shortened(base: TrainConfig) -> Space:
        space = dict(stage.space_around(base))
        match space.get("epochs"):
            case CategoricalDistribution(choices=choices):
                space["epochs"] = CategoricalDistribution(
                    tuple(dict.fromkeys(_share_of(cast(int, epochs), share) for epochs in choices))
                )
            case IntDistribution(low=low, high=high, log=log):
                space["epochs"] = IntDistribution(_share_of(low, share), _share_of(high, share), log=log)
        return space

    return shortened
