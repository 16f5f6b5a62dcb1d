"""Four runs of a network that has learned little: their ensemble is better than each of them by far."""

from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study

STUDY = Study(
    name="combined",
    description="Handwritten digits with a network of a few hundred weights.",
    data="digits",
    config=FlexCNNConfig(image_size=8, conv_layers=1, filters=4, dense_width=8, batch_size=128, learning_rate=1e-2),
    stages=(
        Stage(
            name="wide",
            sampler="random",
            pruner="none",
            trials=2,
            epochs=1,
            space={"learning_rate": FloatDistribution(8e-3, 2e-2, log=True)},
        ),
    ),
    confirm=Confirm(finalists=1, seeds=4, epochs=2, combine="ensemble"),
)
