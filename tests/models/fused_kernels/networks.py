"""Whole networks with fused layers: training, inspection, hooks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.config import FlexCNNConfig
from models.flexcnn import FlexCNN
from models.fused import layers_as_they_are, run_layers, tails
from models.inspect import feature_maps, grad_cam, guided_backprop, strongest_neurons
from tests.models.fused_kernels.common import DEVICE, assert_same, random_x

NETWORKS: list[dict[str, Any]] = [
    {},
    {"activation": "gelu", "dropout": 0.3, "dropout_where": "both"},
    {"activation": "mish", "pooling": "avg", "pool_size": 3, "conv_layers": 1},
    {"activation": "elu", "pooling": "none", "stride": 2, "kernel_size": 4},
    {"activation": "silu", "batch_norm": False},
    {"pool_size": 1},
]


@pytest.mark.parametrize("options", NETWORKS, ids=str)
def test_a_network_trains_as_its_layers_do(options: dict[str, Any], calls: list[tails.Tail]) -> None:
    config = FlexCNNConfig(**{"conv_layers": 2, "filters": 6, "dense_width": 5, **options})
    torch.manual_seed(0)
    own = FlexCNN(config, (3, 14, 13), 4).to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    reference = copy.deepcopy(own)
    x, labels = random_x(8, 3, 14, 13), torch.arange(8, device=DEVICE) % 4
    for step in range(2):
        torch.manual_seed(step)
        F.cross_entropy(own(x), labels).backward()
        assert len(calls) == config.conv_layers * (step + 1)
        torch.manual_seed(step)
        with layers_as_they_are():
            F.cross_entropy(reference(x), labels).backward()
    gradients, expected = ({name: p.grad for name, p in model.named_parameters()} for model in (own, reference))
    assert_same(gradients, expected, torch.float32)  # type: ignore[arg-type]
    assert_same(own.state_dict(), reference.state_dict(), torch.float32)
    own.eval(), reference.eval()
    with torch.inference_mode(), layers_as_they_are():
        expected_logits = reference(x)
    with torch.inference_mode():
        torch.testing.assert_close(own(x), expected_logits, rtol=1e-4, atol=1e-5)


def test_inspection_sees_a_networks_layers(calls: list[tails.Tail]) -> None:
    torch.manual_seed(0)
    model = FlexCNN(FlexCNNConfig(conv_layers=2, filters=6), (3, 12, 12), 4)
    model.to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = random_x(1, 3, 12, 12)
    maps = feature_maps(model, image)
    guided_backprop(model, image, "conv2", strongest_neurons(maps["conv2"][0], 2))
    grad_cam(model, image, torch.tensor([1]))
    assert list(maps) == ["conv1", "conv2"] and not calls
    with torch.no_grad():
        model(image)
    assert len(calls) == 2


def test_a_layer_with_a_hook_runs_by_itself(calls: list[tails.Tail]) -> None:
    layers = [nn.Conv2d(3, 4, 1).to(DEVICE).to(memory_format=torch.channels_last), nn.ReLU(), nn.MaxPool2d(2)]  # type: ignore[call-overload]
    seen: list[torch.Size] = []
    hook = layers[1].register_forward_hook(lambda _layer, _inputs, output: seen.append(output.shape))
    run_layers(layers, random_x(1, 3, 4, 4))
    assert seen == [(1, 4, 4, 4)] and not calls
    hook.remove()
    run_layers(layers, random_x(1, 3, 4, 4))
    assert len(calls) == 1
