"""The three tables of learning curves on which `benchmarks.time_to_accuracy` replays searches.

Each is a search of its own, trained once with the service: a grid, or random draws where the space is too large for
one. A table's parameters are split into two stages, as a staged search has them. The learning rate is constant, so the
first epochs of a curve are what a shorter training would have given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from optuna.distributions import FloatDistribution

from models.config import BackboneConfig, FlexCNNConfig, TrainConfig
from models.values import with_values
from studies.definition import Confirm, Sampler, Space, Stage, Study, choice
from studies.part_a import PART_A

EPOCHS = 9


@dataclass(frozen=True, kw_only=True)
class Table:
    """The configurations of a table, and how searches see their space."""

    name: str
    description: str
    start: TrainConfig
    """The start configuration, where every search begins."""
    first: Space
    """The parameters of a staged search's first stage."""
    second: Space
    """The parameters that its second stage adds."""
    train_images: int
    val_images: int = 1_500
    sampler: Sampler = "grid"
    trained: Space | None = None
    """The space that was trained, where it differs from `first` and `second` together."""
    draws: int = 1
    """Number of configurations that are drawn at random; a grid has as many as it has cells."""

    @property
    def space(self) -> Space:
        """All parameters, as a flat search sees them."""
        return {**self.first, **self.second}

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of all parameters."""
        return tuple(self.space)

    @property
    def study(self) -> Study:
        """The study that trains every configuration of the table."""
        stage = Stage(
            name="grid" if self.sampler == "grid" else "random",
            trials=self.draws,
            epochs=EPOCHS,
            sampler=self.sampler,
            pruner="none",
            space=self.trained or self.space,
        )
        return Study(
            name=f"learning-curves-{self.name}",
            description=self.description,
            config=self.start,
            stages=(stage,),
            confirm=Confirm(finalists=1, seeds=1, epochs=1),
            train_images=self.train_images + self.val_images,
            val_fraction=self.val_images / (self.train_images + self.val_images),
        )


SMALL_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
HEAD_RATES = tuple(round(1e-4 * math.sqrt(10) ** step, 8) for step in range(7))
HEAD_DECAYS = (1e-4, 3e-3, 0.05, 0.3)


def _between(values: tuple[float, ...]) -> FloatDistribution:
    """The range that the values of a grid span, on a log scale."""
    return FloatDistribution(values[0], values[-1], log=True)


_SMALL_FIRST: Space = {
    "conv_layers": choice(2, 4),
    "filters": choice(8, 16, 24),
    "filter_factor": choice(1.0, 2.0),
    "learning_rate": _between(SMALL_RATES),
}
_SMALL_SECOND: Space = {"dropout": choice(0.0, 0.4), "flip": choice(0.0, 0.5)}
_HEADS_FIRST: Space = {
    "head_width": choice(0, 128, 512),
    "batch_size": choice(32, 64),
    "learning_rate": _between(HEAD_RATES),
}
_HEADS_SECOND: Space = {
    "dropout": choice(0.0, 0.2, 0.4),
    "label_smoothing": choice(0.0, 0.1),
    "weight_decay": _between(HEAD_DECAYS),
}

_FEW_FILTERS: Space = {"filters": choice(8, 16)}


_ORDINARY: dict[str, object] = {
    "learning_rate": 1.8e-4, "conv_layers": 3, "filters": 8, "filter_factor": 0.5, "activation": "silu", "padding": 2
}  # fmt: skip
"""The configuration of median accuracy in the table. The start of `partA` is among its best 2 %, so that most searches
would have reached the target with their first trial."""


def _part_a(*parameters: str) -> Space:
    """These parameters of the first space of partA."""
    space = PART_A.stages[0].space_around(PART_A.config)
    return {name: space[name] for name in parameters}


TABLES = {
    table.name: table
    for table in (
        Table(
            name="small",
            description="Every cell of a grid of small networks on a part of CIFAR-10.",
            start=FlexCNNConfig(
                image_size=32, conv_layers=3, filters=16, filter_factor=2.0, batch_size=64, epochs=EPOCHS
            ),
            first=_SMALL_FIRST,
            second=_SMALL_SECOND,
            trained={**_SMALL_FIRST, **_SMALL_SECOND, "learning_rate": choice(*SMALL_RATES)},
            train_images=3_000,
        ),
        Table(
            name="heads",
            description="Every cell of a grid of heads and their regularization on the stored features of a backbone.",
            start=BackboneConfig(
                backbone="timm/tf_efficientnet_lite0",
                freezing="freeze_all",
                image_size=64,
                batch_size=64,
                optimizer="adamw",
                learning_rate=1e-3,
                weight_decay=3e-3,
                epochs=EPOCHS,
            ),
            first=_HEADS_FIRST,
            second=_HEADS_SECOND,
            trained={
                **_HEADS_FIRST,
                **_HEADS_SECOND,
                "learning_rate": choice(*HEAD_RATES),
                "weight_decay": choice(*HEAD_DECAYS),
            },
            train_images=1_500,
        ),
        Table(
            name="part-a",
            description="Random configurations of the first space of partA, at 32 pixels and with at most 16 filters.",
            start=with_values(PART_A.config, {"image_size": 32, "patience": 0, "epochs": EPOCHS} | _ORDINARY),
            first={**_part_a("optimizer", "learning_rate", "conv_layers", "filters", "filter_factor"), **_FEW_FILTERS},
            second=_part_a("batch_size", "activation", "kernel_size", "padding", "dense_width", "batch_norm"),
            train_images=1_000,
            val_images=1_000,
            sampler="random",
            draws=640,
        ),
    )
}


def curves_file(table: str) -> str:
    """The name of the result that holds a table's curves."""
    return f"learning-curves-{table}"
