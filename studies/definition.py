"""The definition of a search: a `Study` is an ordered list of `Stage`s, followed by a `Confirm` or an `Ablation`.

STUDY = Study(
    name="mine",
    config=FlexCNNConfig(image_size=64),
    stages=(
        Stage(name="architecture", trials=30, epochs=5, space={"filters": choice(16, 32, 64)}),
        Stage(name="rates", trials=20, epochs=10, bases=3, space=lambda base: {
            "learning_rate": FloatDistribution(base.learning_rate / 3, base.learning_rate * 3, log=True)}),
    ),
    confirm=Confirm(finalists=3, seeds=3),
)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import ClassVar, Literal, get_args

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from models.config import FlexCNNConfig, TrainConfig
from models.metric_names import split_metric
from models.values import with_values
from studies.ablation import ABLATION_STAGE as ABLATION_STAGE
from studies.ablation import Ablation as Ablation
from studies.spaces import Around as Around
from studies.spaces import Space as Space
from studies.spaces import Value as Value
from studies.spaces import When as When
from studies.spaces import around as around
from studies.spaces import choice as choice
from studies.spaces import when as when

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
    images by more than the standard deviation between the champion's seeds."""
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


@dataclass(frozen=True, kw_only=True)
class Study:
    """A named search on one data set."""

    name: str
    description: str
    config: TrainConfig
    """The start configuration, which is the first trial of the first stage."""
    stages: tuple[Stage, ...] = ()
    """The search stages in order: at least one, or none before an ablation."""
    confirm: Confirm = field(default_factory=Confirm)
    ablation: Ablation | None = None
    """An ablation, which takes the place of the confirmation."""
    data: str | None = None
    """A name in `data.catalog.DATASETS`; None if the user must give `--data`."""
    metric: str = "val_accuracy"
    """What to optimise on validation images: `val_accuracy`, `val_macro_f1`, `val_balanced_accuracy`, `val_auroc` (one
    class against the rest, mean over classes), `val_loss`, `val_top_k:5`, or of one class `val_recall:bees`,
    `val_f1:bees`."""
    seed: int = 0
    val_fraction: float = 0.2
    folds: int = 0
    """Number of folds, at least 2: a trial trains once on each fold, and its value is the mean. For data sets that are
    too small for a single validation set. 0 for a single validation set."""
    train_images: int = 0
    """Number of images to use, sampled from each class; 0 for all."""
    imbalance: float = 1.0
    """Number of times that the largest class has as many training images as the rare class, whose other training images
    are left out; 1 to keep all images."""
    rare_class: str = ""
    """Name of the class that `imbalance` makes rare; empty for the smallest class."""
    warm_start: str | None = None
    """Name of an earlier study, on any images, with whose best configurations the first stage begins."""

    def __post_init__(self) -> None:
        if self.folds < 0 or self.folds == 1 or self.train_images < 0:
            raise UserError(f"{self.name}: folds must be 0 or at least 2, and train_images must be 0 or more")
        if not 0 < self.val_fraction < 1 or self.seed < 0:
            raise UserError(f"{self.name}: val_fraction must be between 0 and 1, and seed must be 0 or more")
        try:
            split_metric(self.metric)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None
        if not 1 <= self.imbalance < inf:
            raise UserError(f"{self.name}: imbalance={self.imbalance}: give a number of 1 or more")
        if not self.stages and self.ablation is None:
            raise UserError(f"{self.name}: a study needs at least one stage, or an ablation")
        stage_names = [stage.name for stage in self.stages]
        if len(set(stage_names)) < len(stage_names):
            raise UserError(f"{self.name}: two stages have the same name: {', '.join(stage_names)}")
        for stage in self.stages:
            _check_stage(self.name, stage, self.config)
            if stage.pruner == "asha" and self.folds:
                raise UserError(
                    f"{self.name}/{stage.name}: pruner 'asha' compares trials epoch by epoch, which is not possible "
                    f"with {self.folds} folds; use pruner='median'"
                )
        if self.stages and self.stages[0].extends:
            raise UserError(f"{self.name}/{self.stages[0].name}: extends: there is no stage before; leave it out")
        for before, extension in pairwise(self.stages):
            if extension.extends:
                _check_extension(f"{self.name}/{extension.name}", extension, before, self.config)
        if self.confirm.finalists < 1 or self.confirm.seeds < 1:
            raise UserError(f"{self.name}: a confirmation needs at least one finalist and one seed")
        _check_option(f"{self.name}/confirm", "combine", self.confirm.combine, get_args(Combine))
        if self.combines and (self.folds or self.confirm.seeds < 2):
            raise UserError(
                f"{self.name}/confirm: combine and mirror need at least 2 seeds, which measure the noise, and a single "
                "validation set; set seeds=2 and folds=0, or leave out combine and mirror"
            )
        epochs = {} if self.confirm.epochs is None else {"epochs": self.confirm.epochs}
        _checked(f"{self.name}/confirm", self.config, {**self.confirm.values, **epochs})
        if self.ablation is not None:
            self.ablation.check(f"{self.name}/{ABLATION_STAGE}", self.config)
            if 0 < self.folds < self.ablation.seeds:
                raise UserError(
                    f"{self.name}: an ablation on {self.folds} folds can have at most {self.folds} seeds, not "
                    f"{self.ablation.seeds}: further runs on the same images would make its intervals too narrow"
                )

    @property
    def combines(self) -> bool:
        """Whether the finalists' runs are combined, or mirrored images averaged."""
        return self.ablation is None and (self.confirm.combine != "none" or self.confirm.mirror)

    @property
    def ending(self) -> Confirm | Ablation:
        """The last stage, which names the champion."""
        return self.ablation or self.confirm

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Whether a larger or a smaller value of the metric is better."""
        return "minimize" if self.metric == "val_loss" else "maximize"


def _check_stage(study: str, stage: Stage, config: TrainConfig) -> None:
    where = f"{study}/{stage.name}"
    if not stage.name or "/" in stage.name:
        raise UserError(f"{where}: a stage's name may not be empty or contain a slash")
    if stage.name in LAST_STAGES:
        raise UserError(f"{where}: {stage.name!r} is reserved for the last stage; choose another name")
    _check_option(where, "sampler", stage.sampler, get_args(Sampler))
    _check_option(where, "pruner", stage.pruner, get_args(Pruner))
    if min(stage.trials, stage.epochs, stage.bases) < 1:
        raise UserError(f"{where}: trials, epochs and bases must be at least 1")
    base = _checked(where, config, stage.values)
    space = stage.space_around(base)
    _check_tries(where, stage, base, space)
    if stage.early_end and not stage.can_end_early:
        raise UserError(
            f"{where}: early_end: a grid trains every cell, and a stage with two aims has no single gain; leave it out"
        )
    if stage.against is not None:
        _check_against(where, stage, isinstance(base, FlexCNNConfig) and "model" not in space)
    for name, entry in space.items():
        distribution = entry.distribution if isinstance(entry, When) else entry
        for value in _extremes(distribution):
            if not isinstance(value, Value):
                raise UserError(
                    f"{where}: {name}: {value!r} of type {type(value).__name__} cannot be stored; give text, numbers, "
                    "true or false, or several values per layer as choice((3, 3), (5, 3))"
                )
            _checked(where, base, {name: value})
        if isinstance(entry, When):
            _checked(where, base, {entry.parameter: entry.values[0]})
        if stage.sampler == "grid" and not isinstance(distribution, CategoricalDistribution) and not distribution.step:  # type: ignore[attr-defined]
            raise UserError(
                f"{where}: a grid needs a finite number of values, but {name} has a range without a step; "
                "give choices or a step"
            )


def _check_extension(where: str, stage: Stage, before: Stage, config: TrainConfig) -> None:
    if before.is_probe:
        raise UserError(f"{where}: extends: {before.name} is a probe, which passes on backbones; use bases instead")
    if "asha" not in (stage.pruner, before.pruner) or stage.pruner != before.pruner or stage.epochs != before.epochs:
        raise UserError(
            f"{where}: extends: its trials are compared with those of {before.name}; give both pruner='asha' and the "
            "same number of epochs"
        )
    if stage.values or stage.bases > 1 or stage.against or before.against or "grid" in (stage.sampler, before.sampler):
        raise UserError(
            f"{where}: extends: it searches the space of {before.name} and its own; leave out bases, values, against "
            "and the grid sampler"
        )

    if "epochs" in before.space_around(config):
        raise UserError(f"{where}: extends: {before.name} varies epochs; let the last of the stages vary them")


def _check_tries(where: str, stage: Stage, base: TrainConfig, space: Space) -> None:
    if stage.tries and stage.sampler == "grid":
        raise UserError(f"{where}: a grid trains every cell; leave out tries")
    for chosen in stage.tries:
        for name in chosen:
            if name not in space and not stage.extends:
                raise UserError(f"{where}: tries: the stage does not search {name!r}; it searches {', '.join(space)}")
        _checked(where, base, chosen)


def _check_against(where: str, stage: Stage, is_flexcnn: bool) -> None:
    _check_option(where, "against", str(stage.against), get_args(Against))
    if stage.is_probe:
        return
    if stage.against == "macs" and not is_flexcnn:
        raise UserError(f"{where}: macs are counted for flexcnn only; use against='parameters' for other networks")
    if stage.sampler not in ("tpe", "random", "grid"):
        raise UserError(f"{where}: sampler {stage.sampler!r} supports one aim; use tpe, random or grid with `against`")
    if stage.pruner != "none":
        raise UserError(f"{where}: a pruner would end trials that are cheap and slightly worse; use pruner='none'")


def _check_option(where: str, name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{where}: {name} {value!r} is not one of {', '.join(allowed)}")


def _checked(where: str, config: TrainConfig, values: Mapping[str, object]) -> TrainConfig:
    try:
        return with_values(config, values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _extremes(distribution: BaseDistribution) -> tuple[object, ...]:
    """Values that stand for the whole distribution in a check."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution.low, distribution.high
    raise UserError(
        f"{type(distribution).__name__} cannot be used in a space; use choice, FloatDistribution or IntDistribution"
    )
