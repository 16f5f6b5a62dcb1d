"""Trials that all take the same few seconds, so that something can happen in the middle of them."""

from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study

STUDY = Study(
    name="steady",
    description="Handwritten digits with a network of a few hundred weights.",
    data="digits",
    config=FlexCNNConfig(image_size=8, conv_layers=2, filters=8, dense_width=16, batch_size=384),
    stages=(
        Stage(
            name="random",
            sampler="random",
            pruner="none",
            trials=12,
            epochs=300,
            space={"learning_rate": FloatDistribution(3e-3, 3e-2, log=True)},
        ),
    ),
    confirm=Confirm(finalists=1, seeds=1, epochs=2),
)
