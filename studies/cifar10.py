"""CIFAR-10 from scratch: a plain network whose search fits into ten minutes on two CPU cores.

With a one-cycle schedule (Smith and Topin 2018), one or two epochs are enough to rank configurations, so most of the
time is spent on the finalists. Their runs and mirrored images are averaged if that is better. Only ReLU, because an
epoch with GELU takes 1.4 times as long on a CPU. On a GPU, try `--set filters=96` and `--epochs-scale 2`.
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from studies.definition import Confirm, Space, Stage, Study, choice

_REGULARIZATION: Space = {
    "weight_decay": FloatDistribution(1e-3, 1e-1, log=True),
    "label_smoothing": choice(0.0, 0.1),
    "dropout": choice(0.0, 0.2),
}


CIFAR10 = Study(
    name="cifar10",
    description="CIFAR-10 with a plain convolutional network, one-cycle schedule, mirrored and shifted images.",
    data="cifar10",
    config=FlexCNNConfig(
        image_size=32,
        conv_layers=4,
        filters=32,
        filter_factor=2.0,
        head_pooling="avg",
        dense_width=0,
        batch_size=128,
        optimizer="adamw",
        learning_rate=5e-3,
        weight_decay=0.02,
        scheduler="one_cycle",
        flip=0.5,
        crop_padding=2,
        epochs=3,
    ),
    stages=(
        Stage(
            name="architecture",
            trials=8,
            epochs=2,
            pruner="asha",
            space={
                "filters": choice(24, 32),
                "filter_factor": choice(1.5, 2.0),
                "batch_size": choice(64, 128),
                "learning_rate": FloatDistribution(1e-3, 2e-2, log=True),
            },
        ),
        Stage(name="regularization", trials=20, epochs=2, extends=True, pruner="asha", space=_REGULARIZATION),
    ),
    confirm=Confirm(finalists=2, seeds=2, epochs=20, combine="ensemble", mirror=True),
)
