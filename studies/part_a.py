"""Part A of a course assignment: a CNN from scratch, searched in three stages (architecture, regularization, schedule).

The spaces contain the published grid (optimiser, learning rate, activation, filter organisation, kernel, padding, dense
width, batch norm; dropout, weight decay; scheduler, augmentation, epochs) and those of the published Bayesian search.
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from studies.definition import Confirm, Space, Stage, Study, choice, when

ACTIVATIONS = choice("relu", "leaky_relu", "gelu", "silu", "mish", "elu")


_REGULARIZATION: Space = {
    "dropout": choice(0.0, 0.1, 0.2, 0.3),
    "dropout_where": choice("dense", "conv", "both"),
    "weight_decay": FloatDistribution(1e-4, 0.8, log=True),
    "label_smoothing": choice(0.0, 0.1),
}

_SCHEDULE: Space = {
    "scheduler": choice("constant", "cosine", "step", "one_cycle"),
    "step_epochs": when(choice(3, 5, 10), scheduler="step"),
    "step_gamma": when(choice(0.1, 0.5), scheduler="step"),
    "epochs": choice(15, 18, 50),
    "flip": choice(0.0, 0.5),
    "rotation": choice(0.0, 15.0),
    "resized_crop": choice(1.0, 0.6),
    "color_jitter": choice(0.0, 0.2),
}


PART_A = Study(
    name="partA",
    description="A CNN from scratch on iNaturalist-12K or any image folder: architecture, regularization, schedule.",
    data="inaturalist-12k",
    config=FlexCNNConfig(
        image_size=224,
        conv_layers=5,
        filters=16,
        filter_factor=2.0,
        activation="gelu",
        dense_width=256,
        optimizer="adamw",
        learning_rate=1e-3,
        batch_size=64,
        patience=3,
        epochs=15,
    ),
    stages=(
        Stage(
            name="architecture",
            trials=24,
            epochs=15,
            pruner="asha",
            space={
                "optimizer": choice("adam", "nadam", "radam", "adamw", "sgd"),
                "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
                "batch_size": choice(32, 64),
                "activation": ACTIVATIONS,
                "conv_layers": choice(3, 4, 5),
                "filters": choice(8, 16, 32, 64, 128),
                "filter_factor": choice(0.5, 1.0, 2.0),
                "kernel_size": choice(3, 4, 5),
                "padding": choice(0, 1, 2),
                "dense_width": choice(128, 256, 512),
                "batch_norm": choice(True, False),
            },
        ),
        Stage(name="regularization", trials=36, epochs=15, extends=True, pruner="asha", space=_REGULARIZATION),
        Stage(name="schedule", trials=70, epochs=15, extends=True, pruner="asha", space=_SCHEDULE),
    ),
    confirm=Confirm(finalists=3, seeds=3),
)
