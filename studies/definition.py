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

Sampler = Literal["tpe", "gp", "cmaes", "random", "grid"]
Pruner = Literal["median", "asha", "successive_halving", "hyperband", "none"]
Against = Literal["macs", "parameters"]
Combine = Literal["none", "soup", "ensemble"]
Value = str | int | float | bool

CONFIRM_STAGE = "confirm"
LAST_STAGES = frozenset({CONFIRM_STAGE, ABLATION_STAGE})
"""Names of the stages that a study may end with: fixed configurations on shared seeds, the best mean is the
champion."""


@dataclass(frozen=True, kw_only=True)
class When:
    """A parameter that exists only for some values of another parameter, in the same space or in the base."""

    distribution: BaseDistribution
    parameter: str
    """Name of the other parameter."""
    values: tuple[Value, ...]
    """Values of the other parameter for which this parameter exists."""


Space = Mapping[str, BaseDistribution | When]


class Around(FloatDistribution):
    """A range on a log scale with a guess in its middle: searches begin there and draw near it more often."""

    def __init__(self, guess: float, factor: float) -> None:
        super().__init__(guess / factor, guess * factor, log=True)
        self.guess = guess


def around(guess: float, factor: float = 10.0) -> Around:
    """A positive number near a guess, at most `factor` times smaller or larger: `around(1e-3)` for a learning rate.

    A stage begins with the guess. While its sampler has too few trials for a model, it draws from a log-normal
    distribution around the guess, cut to the range, whose standard deviation is half the way to either end.
    """
    if guess <= 0 or factor <= 1:
        raise UserError(f"around({guess}, {factor}): the guess is above 0 and the factor above 1")
    return Around(guess, factor)


def choice(*values: Value | tuple[Value, ...] | list[Value]) -> CategoricalDistribution:
    """One of these values. A tuple or list holds one value per layer: `choice((3, 3), (5, 3))`."""
    # Stored as text, which fields accept, because a database returns lists, which Optuna cannot compare with tuples.
    return CategoricalDistribution(
        [",".join(map(str, value)) if isinstance(value, tuple | list) else value for value in values]
    )


def when(distribution: BaseDistribution, **condition: Value | tuple[Value, ...]) -> When:
    """A parameter with a condition: `when(choice(0.1, 0.5), scheduler="step")` exists only if `scheduler` is `step`."""
    (parameter, values), *others = condition.items()
    if others:
        raise UserError(f"when(...) takes one condition, got {', '.join(condition)}")
    return When(
        distribution=distribution, parameter=parameter, values=values if isinstance(values, tuple) else (values,)
    )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One search space with its trials. It searches around the best `bases` configurations of the stage before, or
    narrows the space of the stages before.
    """

    is_probe: ClassVar[bool] = False
    """Whether it compares backbones by linear classifiers: `studies.probe.Probe`."""

    name: str
    space: Space | Callable[[TrainConfig], Space]
    trials: int
    epochs: int
    bases: int = 1
    narrow: int = 0
    """If not 0, search the parameters of earlier stages again, in the ranges of the best `narrow` configurations of the
    stage before, together with the stage's own parameters. `bases` is not used then."""
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

    @property
    def taken_over(self) -> int:
        """Number of configurations that it needs from the stage before."""
        return self.narrow or self.bases

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
            raise UserError(f"{self.name}: folds is 0 or at least 2, and train_images 0 or more")
        if not 0 < self.val_fraction < 1 or self.seed < 0:
            raise UserError(f"{self.name}: val_fraction lies between 0 and 1, and seed is 0 or more")
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
                    f"{self.name}/{stage.name}: pruner 'asha' compares trials at single epochs, which {self.folds} "
                    "folds do not have; use pruner='median'"
                )
        if any(first.is_probe and then.narrow for first, then in pairwise(self.stages)):
            raise UserError(
                f"{self.name}: a probe hands on backbones, not ranges; use bases instead of narrow after it"
            )
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
                    f"{self.name}: an ablation on {self.folds} folds has at most as many seeds, not "
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
        raise UserError(f"{where}: a stage's name may not be empty or hold a slash")
    if stage.name in LAST_STAGES:
        raise UserError(f"{where}: {stage.name!r} is the name of every study's last stage; choose another one")
    _check_option(where, "sampler", stage.sampler, get_args(Sampler))
    _check_option(where, "pruner", stage.pruner, get_args(Pruner))
    if min(stage.trials, stage.epochs, stage.bases) < 1 or stage.narrow < 0:
        raise UserError(f"{where}: trials, epochs and bases must be at least 1, and narrow at least 0")
    if stage.narrow and (stage.sampler == "grid" or stage.bases > 1):
        raise UserError(f"{where}: narrow searches one space; leave out bases and the grid sampler")
    base = _checked(where, config, stage.values)
    space = stage.space_around(base)
    _check_tries(where, stage, base, space)
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
                f"{where}: a grid over {name} has no end, because its range has no step; give choices or a step"
            )


def _check_tries(where: str, stage: Stage, base: TrainConfig, space: Space) -> None:
    if stage.tries and stage.sampler == "grid":
        raise UserError(f"{where}: a grid trains every cell; leave out tries")
    for chosen in stage.tries:
        for name in chosen:
            if name not in space and not stage.narrow:
                raise UserError(f"{where}: tries: the stage does not search {name!r}, but {', '.join(space)}")
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
    raise UserError(f"{type(distribution).__name__} is not a distribution that a space can contain")
