"""Grids whose cells end in each way a trial can end, and one with a parameter that only sometimes exists."""

from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study, choice, when

STUDY = Study(
    name="outcomes",
    description="Every way in which a trial can end.",
    data="digits",
    config=FlexCNNConfig(image_size=8, conv_layers=2, filters=8, dense_width=16, batch_size=128, learning_rate=3e-3),
    stages=(
        Stage(
            name="conditional",
            sampler="grid",
            pruner="none",
            trials=1,
            epochs=1,
            space={
                "step_gamma": when(choice(0.1, 0.5), scheduler="step"),
                "scheduler": choice("constant", "step"),
            },
        ),
        Stage(
            name="infeasible",
            sampler="grid",
            pruner="none",
            trials=1,
            epochs=1,
            space={"conv_layers": choice(2, 6)},  # Six poolings shrink 8 pixels to nothing.
        ),
        Stage(
            name="diverging",
            sampler="grid",
            pruner="none",
            trials=1,
            epochs=1,
            values={"optimizer": "sgd", "batch_norm": False},
            space={"learning_rate": choice(1e-2, 1e30)},
        ),
    ),
    confirm=Confirm(finalists=1, seeds=1),
)
