"""The first study for a new user: handwritten digits of 8x8 pixels, less than a minute on two CPU cores."""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig, TrainConfig
from studies.definition import Confirm, Space, Stage, Study, choice


def _rates(base: TrainConfig) -> Space:
    """Learning rates around that of the base, and the regularization that a small data set needs."""
    return {
        "learning_rate": FloatDistribution(base.learning_rate / 3, base.learning_rate * 3, log=True),
        "dropout": choice(0.0, 0.1, 0.2, 0.3),
        "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
        "crop_padding": choice(0, 1),
    }


QUICKSTART = Study(
    name="quickstart",
    description="Handwritten digits (8x8 gray images from scikit-learn) in two short stages.",
    data="digits",
    config=FlexCNNConfig(
        image_size=8,
        conv_layers=2,
        filters=32,
        dense_width=64,
        batch_size=64,
        learning_rate=3e-3,
        scheduler="cosine",
        epochs=6,
    ),
    stages=(
        Stage(
            name="architecture",
            trials=12,
            epochs=6,
            space={
                "conv_layers": choice(2, 3),
                "filters": choice(16, 32, 64),
                "filter_factor": choice(1.0, 2.0),
                "activation": choice("relu", "gelu", "silu"),
                "learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
            },
        ),
        Stage(name="regularization", trials=12, epochs=8, bases=2, space=_rates),
    ),
    confirm=Confirm(finalists=2, seeds=3, epochs=12),
)
