"""The stages of a study: search spaces with their trials, and the confirmation of the best configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from models.config import TrainConfig
from studies.ablation import ABLATION_STAGE
from studies.spaces import Space, Value

Sampler = Literal["tpe", "gp", "cmaes", "random", "grid"]
Pruner = Literal["median", "asha", "successive_halving", "hyperband", "none"]
Against = Literal["macs", "parameters"]
Combine = Literal["none", "soup", "ensemble"]

CONFIRM_STAGE = "confirm"
LAST_STAGES = frozenset({CONFIRM_STAGE, ABLATION_STAGE})
"""Names of the stages that a study may end with: fixed configurations on shared seeds, the best mean is the
champion."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One search space with its trials. It searches around the best `bases` configurations of the stage before, or
    extends the space of the stage before.
    """

    is_probe: ClassVar[bool] = False
    """Whether it compares backbones by linear classifiers: `studies.probe.Probe`."""

    name: str
    space: Space | Callable[[TrainConfig], Space]
    trials: int
    epochs: int
    bases: int = 1
    extends: bool = False
    """Whether the stage also searches what the stage before searched, in the same ranges. Both then share their trials:
    its sampler learns from earlier ones, and trials that are paused there may continue."""
    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    """`asha` pauses trials below the median and may continue them later; the other pruners end trials."""
    values: Mapping[str, Value] = field(default_factory=dict)
    """Fields that this stage sets and passes on. With a smaller `image_size`, early stages cost a fraction; a later
    stage, or the confirmation, must then set the full size again."""
    against: Against | None = None
    """A cost to minimise in addition to the metric: the stage passes on the best configurations of the Pareto front."""
    tries: Sequence[Mapping[str, Value]] = ()
    """Hand-picked parameters for the first trials after those of the bases, such as `{"dropout": 0.2}`; the sampler
    draws what they leave out. They are part of the budget."""
    early_end: bool = False
    """Whether the stage begins no more trials once its possible gain lies below the noise between seeds.

    Of stages that share their trials, only the last one can end early.
    """

    @property
    def can_end_early(self) -> bool:
        """Whether `early_end` is possible: not for a grid, and not with two aims."""
        return self.sampler != "grid" and self.against is None

    def space_around(self, base: TrainConfig) -> Space:
        """The search space for this base configuration."""
        return self.space(base) if callable(self.space) else self.space


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """The best configurations of the last stage, each trained again on fresh seeds; the best mean is the champion."""

    finalists: int = 3
    seeds: int = 3
    epochs: int | None = None
    """Epochs of each run; None for those of the finalist's configuration."""
    values: Mapping[str, Value] = field(default_factory=dict)
    combine: Combine = "none"
    """`soup`: the mean weights of several runs of the same network; `ensemble`: the mean of the probabilities of
    several runs. The champion's best run is registered instead unless the combination is better on the validation
    images: in the metric by more than the standard deviation between the champion's seeds, or clearly in the
    cross-entropy."""
    mirror: bool = False
    """Also average the probabilities of each image and its mirror image, under the same condition. It doubles the cost
    of a prediction."""

    @property
    def name(self) -> str:
        """Name of the stage."""
        return CONFIRM_STAGE

    @property
    def candidates(self) -> int:
        """Number of configurations that are trained, each on every seed."""
        return self.finalists
