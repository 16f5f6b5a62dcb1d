"""Two small stages on scikit-learn's digits; the second takes a few seconds, so that it can be interrupted."""

from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study, choice

STUDY = Study(
    name="halfway",
    description="Handwritten digits with a small network.",
    data="digits",
    config=FlexCNNConfig(image_size=8, conv_layers=2, filters=8, dense_width=16, batch_size=256, learning_rate=1e-2),
    stages=(
        Stage(name="wide", trials=4, epochs=2, space={"filters": choice(8, 16), "dropout": choice(0.0, 0.2)}),
        Stage(
            name="near",
            trials=8,
            epochs=12,
            bases=2,
            space=lambda base: {
                "learning_rate": FloatDistribution(base.learning_rate / 3, base.learning_rate * 3, log=True)
            },
        ),
    ),
    confirm=Confirm(finalists=2, seeds=1, epochs=2),
)
