"""Small photographs of a few classes (such as five dog breeds): a small network, and transfer.

The network, its initialisation and its optimiser are as published: four 5x5 convolutions of stride 2, normal weights of
variance 2 / fan-in (1/256 and 1/32 in the two dense layers, with 32 px and 64 neurons), SGD with momentum.
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from models.config import BackboneConfig, FlexCNNConfig
from studies.definition import Confirm, Stage, Study, choice

DOGS = Study(
    name="dogs",
    description="A four-layer network from scratch on small photographs: learning rate, momentum, weight decay.",
    config=FlexCNNConfig(
        image_size=32,
        conv_layers=4,
        filters=16,
        filter_factor=2.0,
        kernel_size=5,
        stride=2,
        padding=2,
        pooling="none",
        batch_norm=False,
        activation="relu",
        dense_width=64,
        init="he_normal",
        optimizer="sgd",
        momentum=0.9,
        nesterov=False,
        learning_rate=1e-2,
        batch_size=32,
        epochs=50,
    ),
    stages=(
        Stage(
            name="optimiser",
            trials=16,
            epochs=30,
            space={
                "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
                "momentum": choice(0.0, 0.9, 0.95),
                "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
                "flip": choice(0.0, 0.5),
            },
        ),
    ),
    confirm=Confirm(finalists=2, seeds=3, epochs=50),
)

DOGS_TRANSFER = Study(
    name="dogs-transfer",
    description="The same photographs at full size: ResNet-18 with ImageNet weights, only a new last layer is trained.",
    config=BackboneConfig(
        backbone="resnet18",
        freezing="freeze_all",
        image_size=224,
        optimizer="sgd",
        momentum=0.9,
        nesterov=False,
        learning_rate=1e-2,
        batch_size=32,
        epochs=20,
    ),
    stages=(
        Stage(
            name="optimiser",
            trials=12,
            epochs=20,
            space={
                "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
                "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
            },
        ),
    ),
    confirm=Confirm(finalists=2, seeds=3),
)
