"""Tiny CIFAR-10: 5,000 images of CIFAR-10, enlarged for a pre-trained backbone whose last children are trained.

The finalists' runs and mirrored images are averaged if that is better on validation images. These are a tenth of the
5,000 images: what is learned from 500 more to train on is worth more than a more exact choice.
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from models.config import BackboneConfig
from studies.definition import Confirm, Stage, Study, choice

TINY_CIFAR10 = Study(
    name="tiny-cifar10",
    description="5,000 training images of CIFAR-10: how many layers of a backbone to train, and with which dropout.",
    data="cifar10",
    train_images=5000,
    val_fraction=0.1,
    config=BackboneConfig(
        backbone="resnet18",
        image_size=160,
        freezing="freeze_partial",
        trainable_children=3,
        batch_size=64,
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=0.02,
        scheduler="one_cycle",
        label_smoothing=0.1,
        dropout=0.3,
        flip=0.5,
        epochs=5,
    ),
    stages=(
        Stage(
            name="freezing",
            trials=5,
            epochs=3,
            tries=({"trainable_children": 2},),
            space={
                "trainable_children": choice(2, 3),
                "learning_rate": FloatDistribution(1e-3, 5e-3, log=True),
            },
        ),
        Stage(
            name="dropout",
            trials=5,
            epochs=4,
            space=lambda base: {
                "dropout": choice(0.1, 0.2, 0.3, 0.4),
                "learning_rate": FloatDistribution(base.learning_rate / 2, base.learning_rate * 2, log=True),
            },
        ),
    ),
    confirm=Confirm(finalists=2, seeds=2, epochs=10, combine="ensemble", mirror=True),
)
