"""Two stages whose trials pause at rungs; the second extends the first."""

from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study, choice

STUDY = Study(
    name="rungs",
    description="Handwritten digits with a network of a few hundred weights.",
    data="digits",
    config=FlexCNNConfig(image_size=8, conv_layers=2, filters=8, dense_width=16, batch_size=384, learning_rate=1e-2),
    stages=(
        Stage(
            name="first",
            trials=10,
            epochs=4,
            pruner="asha",
            space={"filters": choice(4, 8), "learning_rate": FloatDistribution(1e-4, 3e-2, log=True)},
        ),
        Stage(name="second", trials=8, epochs=4, extends=True, pruner="asha", space={"dropout": choice(0.0, 0.2)}),
    ),
    confirm=Confirm(finalists=2, seeds=1, epochs=4),
)
