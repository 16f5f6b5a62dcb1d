"""Class imbalance: one class is made ten times as rare as another, and remedies are compared.

Only training images are removed. Every remedy is trained on the same seeds and folds as plain training, so that the
result is the effect of each remedy on macro-F1, with an interval.
"""

from __future__ import annotations

from models.config import BackboneConfig
from studies.definition import Ablation, Study

IMBALANCE = Study(
    name="imbalance",
    description=(
        "One class cut to a tenth of the largest, on a frozen backbone: plain training against class weights, balanced "
        "sampling and focal loss, judged by macro-F1 on validation images that are not cut."
    ),
    data="hymenoptera",
    metric="val_macro_f1",
    folds=5,
    imbalance=10.0,
    config=BackboneConfig(
        backbone="resnet18",
        freezing="freeze_all",
        batch_size=32,
        optimizer="adamw",
        learning_rate=3e-3,
        weight_decay=0.01,
        scheduler="cosine",
    ),
    ablation=Ablation(
        factors={
            "remedy": {
                "none": {},
                "inverse frequency": {"class_weights": "inverse_frequency"},
                "effective number": {"class_weights": "effective_number"},
                "balanced sampling": {"sampling": "balanced"},
                "focal loss": {"focal_gamma": 2.0},
                "focal loss, weighted": {"focal_gamma": 2.0, "class_weights": "inverse_frequency"},
            },
        },
        epochs=20,
        seeds=5,
    ),
)
