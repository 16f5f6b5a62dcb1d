from __future__ import annotations

import pytest
from torchvision import models as zoo

from data.errors import InfeasibleConfig, UserError
from models.config import BackboneConfig
from models.network_cost import network_cost

HEADS = {"resnet18": 512_000, "mobilenet_v3_small": 1024 * 1000, "vit_b_16": 768_000}
"""Products of the last layer, which the published figures hold."""


@pytest.mark.parametrize("backbone", HEADS)
def test_macs_are_those_that_torchvision_publishes(backbone: str) -> None:
    published = zoo.get_model_weights(backbone).DEFAULT.meta["_ops"]  # In billions, with three decimals.
    macs = network_cost(BackboneConfig(backbone=backbone)).macs + HEADS[backbone]
    assert macs / 1e9 == pytest.approx(published, abs=0.002)


def test_parameters_are_those_of_the_network_without_its_classifier() -> None:
    with_head = zoo.get_model_weights("resnet18").DEFAULT.meta["num_params"]
    assert network_cost(BackboneConfig(backbone="resnet18")).parameters == with_head - 512 * 1000 - 1000


def test_a_smaller_image_costs_less() -> None:
    small, large = (network_cost(BackboneConfig(backbone="resnet18", image_size=size)).macs for size in (128, 256))
    assert large == 4 * small


def test_what_cannot_be_built_is_an_error() -> None:
    with pytest.raises(UserError, match="resnet18"):
        network_cost(BackboneConfig(backbone="resnet81"))
    with pytest.raises(InfeasibleConfig, match="16 px"):
        network_cost(BackboneConfig(backbone="vit_b_16", image_size=20))
