"""Part B of a course assignment: probes pre-trained backbones, then searches freezing, head and schedule.

Its choices are those of `benchmarks.champion_parts` that help or may help: on 5,000 images of CIFAR-10, RandAugment
and an ensemble raise the accuracy, and mirrored images lower the cross-entropy.
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from models.config import BackboneConfig, TrainConfig
from studies.definition import Confirm, Space, Stage, Study, choice, when
from studies.probe import Probe


def head_space(base: TrainConfig) -> Space:
    """The head and its regularization, with learning rates around that of the base."""
    return {
        "head_width": choice(0, 128, 512),
        "head_activation": when(choice("relu", "gelu"), head_width=(128, 512)),
        "dropout": choice(0.0, 0.2, 0.4),
        "label_smoothing": choice(0.0, 0.1),
        "weight_decay": FloatDistribution(1e-4, 0.3, log=True),
        "learning_rate": FloatDistribution(base.learning_rate / 3, base.learning_rate * 3, log=True),
    }


def schedule_space(base: TrainConfig) -> Space:
    """Schedule and augmentation."""
    return {
        "scheduler": choice("constant", "cosine", "step", "one_cycle"),
        "step_epochs": when(choice(2, 5), scheduler="step"),
        "step_gamma": when(choice(0.1, 0.5), scheduler="step"),
        "flip": choice(0.0, 0.5),
        "resized_crop": choice(1.0, 0.6),
        "auto_augment": choice("none", "rand_augment"),
        "learning_rate": FloatDistribution(base.learning_rate / 2, base.learning_rate * 2, log=True),
    }


PART_B = Study(
    name="partB",
    description="Fine-tuning on iNaturalist-12K or any image folder: backbone, freezing, head, schedule.",
    data="inaturalist-12k",
    config=BackboneConfig(
        backbone="resnet50",
        freezing="freeze_all",
        batch_size=64,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.01,
        scheduler="cosine",
        epochs=10,
    ),
    stages=(
        Probe(name="backbone"),
        Stage(
            name="freezing",
            trials=30,
            epochs=5,
            bases=3,
            space={
                "freezing": choice("freeze_all", "freeze_partial", "unfreeze_all"),
                "trainable_children": when(choice(1, 2, 3), freezing="freeze_partial"),
                "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
            },
        ),
        Stage(name="head", trials=30, epochs=8, bases=3, space=head_space),
        Stage(name="schedule", trials=20, epochs=10, bases=2, space=schedule_space),
    ),
    confirm=Confirm(finalists=3, seeds=3, combine="ensemble", mirror=True),
)
