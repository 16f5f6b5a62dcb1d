"""Transfer with ResNet-18: fine-tuned, frozen, and frozen with trained batch norms."""

from __future__ import annotations

from models.config import BackboneConfig
from studies.definition import Confirm, Stage, Study, choice, when

IMAGENETTE_TRANSFER = Study(
    name="imagenette-transfer",
    description=(
        "ResNet-18 on Imagenette (or any folder): fine-tuned, frozen, frozen with trained batch norms. Imagenette "
        "consists of ImageNet's training images, on which the backbone was trained, so its accuracy is too high."
    ),
    data="imagenette",
    config=BackboneConfig(
        backbone="resnet18",
        batch_size=64,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-4,
        scheduler="cosine",
        flip=0.5,
        epochs=10,
    ),
    stages=(
        Stage(
            name="strategy",
            trials=6,
            epochs=10,
            sampler="grid",
            pruner="none",
            space={
                "freezing": choice("freeze_all", "unfreeze_all"),
                "train_batch_norm": when(choice(False, True), freezing="freeze_all"),
                "learning_rate": choice(1e-3, 1e-4),
            },
        ),
    ),
    confirm=Confirm(finalists=2, seeds=3),
)
