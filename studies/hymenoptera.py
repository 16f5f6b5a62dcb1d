"""Ants and bees, 245 training images: a new head on a frozen backbone, evaluated on five folds.

The accuracy on a validation set of 49 images changes in steps of two points, and its 95 % interval extends several
points in both directions. So the value of a trial is the mean over five folds, and a finalist is trained once on each.

Images are a little larger than those that the backbone was trained with: random crops made objects look larger to it
than they are in whole images (Touvron et al. 2019, Fixing the train-test resolution discrepancy).
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from models.config import BackboneConfig
from studies.definition import Confirm, Stage, Study, choice, when
from studies.part_b import head_space

HYMENOPTERA = Study(
    name="hymenoptera",
    description="Ants and bees (PyTorch's transfer-learning tutorial): a new head on a frozen backbone, five folds.",
    data="hymenoptera",
    folds=5,
    config=BackboneConfig(
        backbone="resnet18",
        freezing="freeze_all",
        image_size=256,
        batch_size=32,
        optimizer="adamw",
        learning_rate=3e-3,
        weight_decay=0.01,
        scheduler="cosine",
        epochs=15,
    ),
    stages=(
        Stage(name="head", trials=20, epochs=15, space=head_space),
        Stage(
            name="schedule",
            trials=12,
            epochs=15,
            bases=2,
            space=lambda base: {
                "scheduler": choice("constant", "cosine", "step", "one_cycle"),
                "step_epochs": when(choice(3, 7), scheduler="step"),
                "batch_size": choice(16, 32, 64),
                "learning_rate": FloatDistribution(base.learning_rate / 2, base.learning_rate * 2, log=True),
            },
        ),
    ),
    confirm=Confirm(finalists=2, seeds=5),
)
