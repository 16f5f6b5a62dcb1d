"""Eleven trials of a moment, confirmation included: a whole search that many plans of faults can disturb."""

from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study, choice

STUDY = Study(
    name="eleven",
    description="Handwritten digits with a network of a few hundred weights.",
    data="digits",
    config=FlexCNNConfig(image_size=8, conv_layers=2, filters=4, dense_width=8, batch_size=512, learning_rate=1e-2),
    stages=(
        Stage(
            name="wide",
            sampler="random",
            pruner="none",
            trials=5,
            epochs=2,
            space={"filters": choice(4, 8), "learning_rate": FloatDistribution(3e-3, 3e-2, log=True)},
        ),
        Stage(
            name="near",
            sampler="tpe",
            pruner="none",
            trials=4,
            epochs=2,
            bases=2,
            space=lambda base: {
                "learning_rate": FloatDistribution(base.learning_rate / 3, base.learning_rate * 3, log=True)
            },
        ),
    ),
    confirm=Confirm(finalists=1, seeds=2, epochs=2, combine="ensemble", mirror=True),
)
