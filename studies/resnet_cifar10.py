"""CIFAR-10 on a GPU: a ResNet-18 for small images from scratch, with the methods of the fastest published trainings.

The network is fixed: a ResNet-18 whose first convolution is made for images of 32 px. The published trainings use SGD
with Nesterov momentum, one cycle of the learning rate, batches of 512, label smoothing, images mirrored in every other
epoch and shifted by a few pixels, blanked rectangles (Cutout), and a moving average of the weights (Jordan 2024,
arXiv:2404.00498; Page 2018, How to train your ResNet). The first stage searches the rates in short trainings; the next
one searches regularization and augmentation in longer ones, because their benefit appears late. Most of the time is
spent on the finalists, whose runs are averaged if that is better on the validation images: `--budget 5m` is meant for a
GPU that trains an epoch in about a second, and shortens their training to the epochs that fit.

`resnet18-cifar10` compares ways of fine-tuning and freezing in a table; this study searches for the best classifier.
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from models.config import BackboneConfig, TrainConfig
from studies.definition import Confirm, Space, Stage, Study, choice


def _regularization(base: TrainConfig) -> Space:
    return {
        "learning_rate": FloatDistribution(base.learning_rate / 1.5, base.learning_rate * 1.5, log=True),
        "label_smoothing": choice(0.1, 0.2),
        "crop_padding": choice(2, 4),
        "erasing": choice(0.25, 0.5),
        "ema_decay": choice(0.0, 0.99),
    }


RESNET_CIFAR10 = Study(
    name="resnet-cifar10",
    description="CIFAR-10 from scratch with a ResNet-18 for small images, for a GPU: rates, then regularization.",
    data="cifar10",
    val_fraction=0.1,
    config=BackboneConfig(
        backbone="resnet18",
        weights="none",
        stem="small",
        image_size=32,
        freezing="unfreeze_all",
        batch_size=512,
        optimizer="sgd",
        momentum=0.9,
        nesterov=True,
        learning_rate=0.4,
        weight_decay=5e-4,
        scheduler="one_cycle",
        label_smoothing=0.1,
        flip_alternating=True,
        crop_padding=2,
        erasing=0.25,
        epochs=30,
    ),
    stages=(
        # No pruning: with one cycle, trials with a high learning rate are behind halfway and ahead at the end.
        Stage(
            name="rates",
            trials=6,
            epochs=5,
            pruner="none",
            space={
                "learning_rate": FloatDistribution(0.1, 1.0, log=True),
                "weight_decay": FloatDistribution(2e-4, 1e-3, log=True),
            },
        ),
        Stage(name="regularization", trials=6, epochs=10, bases=2, pruner="none", space=_regularization),
    ),
    confirm=Confirm(finalists=2, seeds=2, epochs=50, combine="ensemble", mirror=True),
)
