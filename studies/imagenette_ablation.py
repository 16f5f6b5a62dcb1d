"""Ablation on Imagenette: the effects of batch norm, dropout and augmentation."""

from __future__ import annotations

from models.config import FlexCNNConfig
from studies.definition import Ablation, Study

IMAGENETTE_ABLATION = Study(
    name="imagenette-ablation",
    description=(
        "Three strided convolutions on Imagenette (or any folder): batch norm, dropout and augmentation, each without "
        "and with, in every combination. The base model is the one without all three."
    ),
    data="imagenette",
    config=FlexCNNConfig(
        image_size=224,
        conv_layers=3,
        filters=(64, 128, 256),
        kernel_size=3,
        stride=2,
        padding=1,
        pooling="none",
        head_pooling="avg",
        dense_width=256,
        batch_size=64,
        optimizer="adam",
        learning_rate=1e-3,
        weight_decay=1e-4,
    ),
    ablation=Ablation(
        factors={
            "batch norm": {"without": {"batch_norm": False}, "with": {"batch_norm": True}},
            "dropout": {"without": {"dropout": 0.0}, "with": {"dropout": 0.5}},
            "augmentation": {
                "without": {"flip": 0.0, "rotation": 0.0, "resized_crop": 1.0},
                "with": {"flip": 0.5, "rotation": 10.0, "resized_crop": 0.6},
            },
        },
        epochs=20,
        seeds=3,
    ),
)
