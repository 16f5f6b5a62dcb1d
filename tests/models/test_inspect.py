"""Looking into networks of every family: what is seen, and that nothing is changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import BackboneConfig, FlexCNNConfig
from models.inspect import (
    feature_maps,
    filter_responses,
    first_conv_name,
    first_filters,
    grad_cam,
    guided_backprop,
    strongest_neurons,
)
from models.registry import build_model

SIZE = 64
CLASSES = 5


def _flexcnn(**fields: object) -> nn.Module:
    config = FlexCNNConfig(conv_layers=3, filters=4, dense_width=8, image_size=SIZE, **fields)
    return build_model(config, (3, SIZE, SIZE), CLASSES)


def _frozen_backbone() -> nn.Module:
    config = BackboneConfig(backbone="resnet18", weights="none", image_size=SIZE)
    return build_model(config, (3, SIZE, SIZE), CLASSES)


def _in_place() -> nn.Module:
    """As in VGG."""
    features = [nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True)]
    return nn.Sequential(*features, nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES))


def _timm() -> nn.Module:
    return pytest.importorskip("timm").create_model("resnet10t", num_classes=CLASSES)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "flexcnn": lambda: _flexcnn(activation="gelu", dropout=0.5),
    "torchvision resnet18": lambda: torchvision.models.resnet18(num_classes=CLASSES),
    "activations in place": _in_place,
    "frozen backbone": _frozen_backbone,
    "timm": _timm,
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(1)
    return NETWORKS[request.param]()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


def state_of(model: nn.Module) -> list[object]:
    """All that a look might change; torch counts the changes of every tensor."""
    parameters = [(name, p.requires_grad, p.grad, p._version) for name, p in model.named_parameters()]
    buffers = [(name, buffer._version) for name, buffer in model.named_buffers()]
    modules = [(name, m.training, len(m._forward_hooks), len(m._backward_hooks)) for name, m in model.named_modules()]
    return [parameters, buffers, modules]


def test_every_inspection_has_the_images_shape_and_leaves_the_network_as_found(
    network: nn.Module, images: Tensor
) -> None:
    before = state_of(network.train())

    maps = feature_maps(network, images)
    layer = [name for name, maps_NKHW in maps.items() if maps_NKHW[0, 0].size > 1][-1]
    neurons = strongest_neurons(maps[layer][0], 3)
    gradients = guided_backprop(network, images[:1], layer, neurons)
    regions = grad_cam(network, images, torch.tensor([0, CLASSES - 1]))
    responses = filter_responses(network, images[:1])

    assert state_of(network) == before
    assert gradients.shape == (3, 3, SIZE, SIZE)
    assert regions.shape == (2, SIZE, SIZE)
    assert regions.min() >= 0
    assert regions.max() <= 1
    assert len(responses) == len(first_filters(network))
    for array in (gradients, regions, responses, *maps.values()):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert gradients.any()


def test_every_conv_layer_has_maps_in_order_of_computation(network: nn.Module, images: Tensor) -> None:
    maps = feature_maps(network, images)

    convs = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert maps.keys() == convs.keys()
    assert next(iter(maps)) == first_conv_name(network)
    for name, conv in convs.items():
        assert maps[name].shape[:2] == (2, conv.out_channels)


def test_inspecting_an_image_of_the_wrong_shape_leaves_the_network_as_found(images: Tensor) -> None:
    model = _flexcnn().train()
    before = state_of(model)
    with pytest.raises(RuntimeError):
        grad_cam(model, images[:, :2], torch.tensor([0, 0]))
    assert state_of(model) == before


def test_looking_twice_gives_the_same(network: nn.Module, images: Tensor) -> None:
    classes = torch.tensor([1, 2])
    assert np.array_equal(grad_cam(network, images, classes), grad_cam(network, images, classes))


def test_the_first_filters_are_a_copy_of_the_first_layers_weights(network: nn.Module) -> None:
    conv = network.get_submodule(first_conv_name(network))
    filters = first_filters(network)
    assert np.array_equal(filters, conv.weight.detach().numpy())
    filters += 1
    assert not np.array_equal(filters, conv.weight.detach().numpy())


def test_responses_are_those_before_norm_and_activation(network: nn.Module, images: Tensor) -> None:
    conv = network.get_submodule(first_conv_name(network))
    expected = F.conv2d(images[:1], conv.weight, conv.bias, conv.stride, conv.padding)[0]  # type: ignore[call-overload]
    np.testing.assert_allclose(filter_responses(network, images[:1]), expected.detach(), atol=1e-5)


def test_maps_are_taken_after_the_norm_and_the_activation(images: Tensor) -> None:
    model = _flexcnn(activation="gelu").eval()
    first = F.gelu(model.norm1(model.conv1(images)))
    second = F.gelu(model.norm2(model.conv2(model.pool1(first))))

    maps = feature_maps(model, images)

    np.testing.assert_allclose(maps["conv1"], first.detach(), atol=1e-5)
    np.testing.assert_allclose(maps["conv2"], second.detach(), atol=1e-5)


def test_maps_are_taken_before_a_pooling_that_comes_ahead_of_the_activation(images: Tensor) -> None:
    model = _flexcnn(activation="relu").eval()
    np.testing.assert_allclose(
        feature_maps(model, images)["conv1"], model.norm1(model.conv1(images)).detach(), atol=1e-5
    )


class OwnActivation(nn.Module):
    """As in torchvision's GoogLeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, values: Tensor) -> Tensor:
        return F.relu(self.conv(values), inplace=True)


def test_maps_are_not_overwritten_by_the_networks_own_code(images: Tensor) -> None:
    model = OwnActivation()
    np.testing.assert_allclose(feature_maps(model, images)["conv"], model.conv(images).detach(), atol=1e-6)


def test_a_network_without_conv_layers_is_an_error() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(ValueError, match="no conv layer"):
        first_filters(model)
    with pytest.raises(ValueError, match="no conv layer"):
        grad_cam(model, torch.zeros(1, 3, 2, 2), torch.tensor([0]))
