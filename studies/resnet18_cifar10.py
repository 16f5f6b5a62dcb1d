"""ResNet-18 on CIFAR-10: from scratch, fine-tuned, partly frozen, and frozen except for the head; time and accuracy.

It is a grid with a trial for every row of the published table, with the published learning rates.
"""

from __future__ import annotations

from models.config import BackboneConfig
from studies.definition import Confirm, Stage, Study, choice, when

RESNET18_CIFAR10 = Study(
    name="resnet18-cifar10",
    description="ResNet-18 on CIFAR-10 at 32 px, trained wholly or in part: a table of accuracy and time.",
    data="cifar10",
    config=BackboneConfig(
        backbone="resnet18",
        image_size=32,
        batch_size=128,
        optimizer="adam",
        learning_rate=1e-3,
        scheduler="cosine",
        epochs=20,
    ),
    stages=(
        Stage(
            name="freezing",
            trials=6,
            epochs=20,
            sampler="grid",
            pruner="none",
            space={
                "freezing": choice("unfreeze_all", "freeze_first", "freeze_all"),
                "frozen_children": when(choice(5), freezing="freeze_first"),
                "weights": when(choice("default", "none"), freezing="unfreeze_all"),
                "learning_rate": when(choice(1e-2, 1e-3), freezing="unfreeze_all"),
                "head_width": when(choice(256), freezing="freeze_first"),
                "dropout": when(choice(0.2), freezing="freeze_first"),
            },
        ),
    ),
    confirm=Confirm(finalists=1, seeds=2),
)
