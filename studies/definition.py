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

from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Literal, get_args

from data.errors import UserError
from models.config import TrainConfig
from models.metric_names import split_metric
from studies.ablation import ABLATION_STAGE as ABLATION_STAGE
from studies.ablation import Ablation as Ablation
from studies.spaces import Around as Around
from studies.spaces import Space as Space
from studies.spaces import Value as Value
from studies.spaces import When as When
from studies.spaces import around as around
from studies.spaces import choice as choice
from studies.spaces import when as when
from studies.stage_checks import check_extension, check_option, check_stage, checked
from studies.stages import CONFIRM_STAGE as CONFIRM_STAGE
from studies.stages import LAST_STAGES as LAST_STAGES
from studies.stages import Against as Against
from studies.stages import Combine as Combine
from studies.stages import Confirm as Confirm
from studies.stages import Pruner as Pruner
from studies.stages import Sampler as Sampler
from studies.stages import Stage as Stage


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
    too small for a single validation set. 0 for a single validation set. A confirmation or ablation has at most one
    seed for each fold."""
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
            check_stage(self.name, stage, self.config)
            if stage.pruner == "asha" and self.folds:
                raise UserError(
                    f"{self.name}/{stage.name}: pruner 'asha' compares trials epoch by epoch, which is not possible "
                    f"with {self.folds} folds; use pruner='median'"
                )
        if self.stages and self.stages[0].extends:
            raise UserError(f"{self.name}/{self.stages[0].name}: extends: there is no stage before; leave it out")
        for before, extension in pairwise(self.stages):
            if extension.extends:
                check_extension(f"{self.name}/{extension.name}", extension, before, self.config)
        if self.confirm.finalists < 1 or self.confirm.seeds < 1:
            raise UserError(f"{self.name}: a confirmation needs at least one finalist and one seed")
        if self.ablation is None and 0 < self.folds < self.confirm.seeds:
            raise UserError(
                f"{self.name}: a confirmation on {self.folds} folds can have at most {self.folds} seeds, not "
                f"{self.confirm.seeds}: further runs on the same images would make its intervals too narrow; set "
                f"confirm=Confirm(seeds={self.folds})"
            )
        check_option(f"{self.name}/confirm", "combine", self.confirm.combine, get_args(Combine))
        if self.combines and (self.folds or self.confirm.seeds < 2):
            raise UserError(
                f"{self.name}/confirm: combine and mirror need at least 2 seeds, which measure the noise, and a single "
                "validation set; set seeds=2 and folds=0, or leave out combine and mirror"
            )
        epochs = {} if self.confirm.epochs is None else {"epochs": self.confirm.epochs}
        checked(f"{self.name}/confirm", self.config, {**self.confirm.values, **epochs})
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
