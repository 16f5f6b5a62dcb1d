from __future__ import annotations

import sys
from importlib import import_module
from itertools import product

import pytest

from data.errors import InfeasibleConfig, UserError
from models.config import BackboneConfig, FlexCNNConfig
from models.registry import build_model, check_buildable, libraries


def test_what_is_called_buildable_is_built_and_nothing_else() -> None:
    verdicts = []
    for layers, kernel_size, padding, factor in product((1, 2, 3, 4), (2, 3, 5), (0, 1), (0.5, 1.0)):
        config = FlexCNNConfig(
            image_size=8, conv_layers=layers, kernel_size=kernel_size, padding=padding, filters=4, filter_factor=factor
        )
        try:
            check_buildable(config, 1, 10)
        except InfeasibleConfig as refused:
            verdicts.append(False)
            with pytest.raises(InfeasibleConfig) as error:
                build_model(config, (1, 8, 8), 10)
            assert str(error.value) == str(refused)
        else:
            verdicts.append(True)
            build_model(config, (1, 8, 8), 10)
    assert {True, False} == set(verdicts)


@pytest.mark.parametrize(
    ("backbone", "size", "complaint"),
    [("inception_v3", 32, "needs at least 75 px"), ("vit_b_16", 100, "use a multiple"), ("vgg16", 16, "at least 32")],
)
def test_a_backbone_that_cannot_take_images_of_this_size_is_refused(backbone: str, size: int, complaint: str) -> None:
    with pytest.raises(InfeasibleConfig, match=complaint):
        check_buildable(BackboneConfig(backbone=backbone, image_size=size), 3, 2)


def test_a_backbone_s_own_size_is_never_refused() -> None:
    check_buildable(BackboneConfig(backbone="inception_v3"), 3, 2)


def test_an_unknown_backbone_is_refused_with_the_nearest_spelling() -> None:
    with pytest.raises(UserError, match="resnet18"):
        check_buildable(BackboneConfig(backbone="resnet19"), 3, 2)


def test_the_libraries_of_a_network_are_what_building_it_imports() -> None:
    assert libraries(FlexCNNConfig()) == ()
    for backbone, library in (("resnet18", "torchvision"), ("timm/test_resnet", "timm")):
        for name in libraries(BackboneConfig(backbone=backbone)):
            import_module(name)
        assert library in sys.modules
