"""A grid over a network's width: with the fault `by_width`, each of them but the first goes wrong."""

from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study, choice

STUDY = Study(
    name="widths",
    description="Every fault inside a trial.",
    data="digits",
    config=FlexCNNConfig(image_size=8, conv_layers=2, filters=4, dense_width=16, batch_size=384, learning_rate=1e-2),
    stages=(
        Stage(
            name="widths",
            sampler="grid",
            pruner="none",
            trials=1,
            epochs=2,
            space={"filters": choice(4, 5, 6, 7, 8, 9)},
        ),
    ),
    confirm=Confirm(finalists=1, seeds=1),
)
