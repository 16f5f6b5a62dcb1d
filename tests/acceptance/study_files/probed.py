"""A probe of two backbones with random weights on handwritten digits, then a head."""

from models.config import BackboneConfig
from studies.definition import Confirm, Stage, Study, choice
from studies.probe import Probe

STUDY = Study(
    name="probed",
    description="Which of two small backbones, then its head.",
    data="digits",
    config=BackboneConfig(image_size=32, weights="none", precision="fp32", batch_size=256, learning_rate=3e-3),
    stages=(
        Probe(name="backbone", backbones=("resnet18", "mobilenet_v3_small")),
        Stage(name="head", trials=2, epochs=1, space={"dropout": choice(0.0, 0.2)}),
    ),
    confirm=Confirm(finalists=1, seeds=1),
)
