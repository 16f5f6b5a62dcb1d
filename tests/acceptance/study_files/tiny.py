"""Two short stages: a random one without pruning, and one that prunes and searches around two bases."""

from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study, choice

STUDY = Study(
    name="tiny",
    description="Handwritten digits with a network of a few hundred weights.",
    data="digits",
    config=FlexCNNConfig(image_size=8, conv_layers=2, filters=8, dense_width=16, batch_size=384, learning_rate=1e-2),
    stages=(
        Stage(
            name="random",
            sampler="random",
            pruner="none",
            trials=8,
            epochs=1,
            space={"filters": choice(4, 8), "learning_rate": FloatDistribution(3e-3, 3e-2, log=True)},
        ),
        Stage(
            name="median",
            trials=8,
            epochs=8,
            bases=2,
            space=lambda base: {
                "learning_rate": FloatDistribution(base.learning_rate / 300, base.learning_rate, log=True),
                "dropout": choice(0.0, 0.2),
            },
        ),
    ),
    confirm=Confirm(finalists=2, seeds=2, epochs=2),
)
