"""Digits with two aims: high accuracy and few multiply-accumulates."""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study, choice

DIGITS_PARETO = Study(
    name="digits-pareto",
    description="Handwritten digits: the Pareto front of accuracy and multiply-accumulates, i.e. networks that no "
    "other network beats in both.",
    data="digits",
    config=FlexCNNConfig(
        image_size=8,
        conv_layers=2,
        filters=16,
        dense_width=32,
        batch_size=64,
        learning_rate=5e-3,
        scheduler="cosine",
    ),
    stages=(
        Stage(
            name="architecture",
            trials=32,
            epochs=6,
            pruner="none",
            against="macs",
            space={
                "conv_layers": choice(1, 2, 3),
                "filters": choice(2, 4, 8, 16, 32),
                "filter_factor": choice(0.5, 1.0, 2.0),
                "kernel_size": choice(2, 3),
                "dense_width": choice(0, 16, 32, 64),
                "learning_rate": FloatDistribution(2e-3, 2e-2, log=True),
            },
        ),
    ),
    confirm=Confirm(finalists=3, seeds=2),
)
