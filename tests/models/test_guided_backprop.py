"""Guided back-propagation against what is calculated by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.inspect import Neuron, feature_maps, guided_backprop, strongest_neurons

FIRST = torch.tensor([[1.0, 2.0], [-1.0, 1.0], [0.5, -3.0]])
SECOND = torch.tensor([[1.0, -2.0, 0.5], [2.0, 1.0, 1.0]])
PIXEL = torch.tensor([1.0, 2.0])
"""Before the first activation: 5, 1, -5.5; so the third hidden neuron was not positive."""


class TwoLayers(nn.Module):
    """Two 1x1 convs on one pixel of two channels: small enough to differentiate on paper."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 1, bias=False)
        self.conv2 = nn.Conv2d(3, 2, 1, bias=False)
        self.activation = activation
        with torch.no_grad():
            self.conv1.weight.copy_(FIRST[..., None, None])
            self.conv2.weight.copy_(SECOND[..., None, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.conv2(self.activation(self.conv1(images)))


def derivative_of_gelu(x: float) -> float:
    cumulative = 0.5 * (1 + math.erf(x / math.sqrt(2)))
    return cumulative + x * math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def derivative_of_silu(x: float) -> float:
    sigmoid = 1 / (1 + math.exp(-x))
    return sigmoid * (1 + x * (1 - sigmoid))


def by_hand(neuron: int, derivative: Callable[[float], float]) -> list[float]:
    hidden = (FIRST @ PIXEL).tolist()
    back = [
        derivative(value) * weight if value > 0 and weight > 0 else 0.0
        for value, weight in zip(hidden, SECOND[neuron].tolist(), strict=True)
    ]
    return (FIRST.T @ torch.tensor(back)).tolist()


ACTIVATIONS = {
    "relu module": (nn.ReLU(), lambda x: 1.0),
    "relu module in place": (nn.ReLU(inplace=True), lambda x: 1.0),
    "relu in the network's own code": (lambda values: F.relu(values, inplace=True), lambda x: 1.0),
    "torch.relu": (torch.relu, lambda x: 1.0),
    "method": (lambda values: values.relu(), lambda x: 1.0),
    "leaky relu": (nn.LeakyReLU(0.2), lambda x: 1.0),
    "gelu": (nn.GELU(), derivative_of_gelu),
    "silu in place": (nn.SiLU(inplace=True), derivative_of_silu),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_gradient_passes_an_activation_where_both_it_and_the_input_were_positive(name: str) -> None:
    activation, derivative = ACTIVATIONS[name]
    neurons = [Neuron(0, 0, 0), Neuron(1, 0, 0)]

    gradients = guided_backprop(TwoLayers(activation), PIXEL.view(1, 2, 1, 1), "conv2", neurons)

    expected = [by_hand(neuron, derivative) for neuron in range(2)]
    np.testing.assert_allclose(gradients[..., 0, 0], expected, rtol=1e-5)


def test_it_is_not_the_plain_gradient() -> None:
    image = PIXEL.view(1, 2, 1, 1).clone().requires_grad_()
    model = TwoLayers(nn.ReLU())
    (plain,) = torch.autograd.grad(model(image)[0, 0, 0, 0], image)
    guided = guided_backprop(model, image, "conv2", [Neuron(0, 0, 0)])
    assert not np.allclose(guided, plain)


def test_a_linear_network_gives_its_weights() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    image = torch.rand(1, 3, 5, 5)
    (gradient,) = guided_backprop(nn.Sequential(conv), image, "0", [Neuron(2, 1, 3)])
    expected = np.zeros((3, 5, 5), dtype=np.float32)
    expected[:, 0:3, 2:5] = conv.weight[2].detach()
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_neurons_of_one_call_do_not_mix() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU())
    image = torch.rand(1, 3, 9, 9)
    neurons = strongest_neurons(feature_maps(model, image)["3"][0], 4)
    together = guided_backprop(model, image, "3", neurons)
    alone = [guided_backprop(model, image, "3", [neuron])[0] for neuron in neurons]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_the_strongest_neurons_are_one_per_channel_strongest_first() -> None:
    maps = np.zeros((3, 2, 4), dtype=np.float32)
    maps[0, 1, 2], maps[1, 0, 3], maps[1, 1, 1], maps[2, 0, 0] = 5, 9, 8, 1
    assert strongest_neurons(maps, 2) == [Neuron(1, 0, 3), Neuron(0, 1, 2)]
    assert len(strongest_neurons(maps, 10)) == 3


def test_an_unknown_layer_is_an_error() -> None:
    with pytest.raises(KeyError):
        guided_backprop(TwoLayers(nn.ReLU()), PIXEL.view(1, 2, 1, 1), "conv3", [Neuron(0, 0, 0)])
