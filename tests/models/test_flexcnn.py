from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.complexity import layers, total_parameters
from models.config import Activation, FlexCNNConfig
from models.flexcnn import FlexCNN
from studies.dogs import DOGS

OPTIONS: list[dict[str, Any]] = [
    *({"activation": activation} for activation in get_args(Activation)),
    {"activation": "gelu", "dense_activation": "relu"},
    {"pooling": "avg"},
    {"pooling": "none"},
    {"pool_size": 3},
    {"pool_size": 1},
    {"kernel_size": 4},
    {"kernel_size": (5, 2)},
    {"filters": (6, 9)},
    {"filter_factor": 2},
    {"padding": 2},
    {"padding": 0},
    {"stride": 2},
    {"kernel_size": 4, "stride": 2},
    {"head_pooling": "avg"},
    {"batch_norm": False},
    {"dropout": 0.3, "dropout_where": "conv"},
    {"dropout": 0.3, "dropout_where": "both"},
    {"dense_width": 0},
    {"dense_width": 0, "head_pooling": "avg", "dropout": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_builds_a_network_in_which_every_parameter_learns(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = FlexCNNConfig(**{"conv_layers": 2, "filters": 8, "dense_width": 12, **options})
    model = FlexCNN(config, (3, 20, 17), 7)

    logits = model(torch.randn(16, 3, 20, 17))
    F.cross_entropy(logits, torch.arange(16) % 7).backward()

    assert logits.shape == (16, 7)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_pooling_first_gives_what_pooling_after_the_activation_gives(activation: Activation, pooling: Any) -> None:
    torch.manual_seed(0)
    config = FlexCNNConfig(conv_layers=1, filters=8, activation=activation, pooling=pooling, dense_width=0)
    model = FlexCNN(config, (3, 8, 8), 2).eval()
    layers = dict(model.named_children())
    images = torch.randn(4, 3, 8, 8)

    normed = layers["norm1"](layers["conv1"](images))
    in_order = layers["pool1"](layers["activation1"](normed))

    as_built = nn.Sequential(*list(layers.values())[:4])(images)
    torch.testing.assert_close(as_built, in_order)


def test_dropout_is_where_it_was_asked_for() -> None:
    def dropouts(where: Any) -> list[type[nn.Module]]:
        config = FlexCNNConfig(conv_layers=1, dropout=0.5, dropout_where=where)
        return [type(layer) for layer in FlexCNN(config, (3, 8, 8), 2).children() if "Dropout" in type(layer).__name__]

    assert dropouts("dense") == [nn.Dropout]
    assert dropouts("conv") == [nn.Dropout2d]
    assert dropouts("both") == [nn.Dropout2d, nn.Dropout]


def test_only_a_conv_without_batch_norm_has_a_bias() -> None:
    for batch_norm in (True, False):
        names = dict(FlexCNN(FlexCNNConfig(batch_norm=batch_norm), (3, 32, 32), 2).named_parameters())
        assert ("conv1.bias" in names) is not batch_norm
        assert ("norm1.weight" in names) is batch_norm


def test_the_small_dog_network_has_the_published_first_weights_and_size() -> None:
    """Variance 2 / (25 inputs), 1/256 and 1/32 in the dense layers, biases 0, and parameters counted by hand."""
    torch.manual_seed(0)
    config = DOGS.config
    assert isinstance(config, FlexCNNConfig)
    model = FlexCNN(config, (3, 32, 32), 5)

    convs = {f"conv{number}": 2 / (25 * channels) for number, channels in enumerate((3, 16, 32, 64), start=1)}
    expected = {**convs, "dense": 1 / 256, "output": 1 / 32}
    for name, variance in expected.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None
        assert layer.weight.var().item() == pytest.approx(variance, rel=0.2), name
        assert layer.weight.mean().abs() < 0.1 * variance**0.5 and not layer.bias.any(), name
    in_convs = (25 * 3 + 1) * 16 + (25 * 16 + 1) * 32 + (25 * 32 + 1) * 64 + (25 * 64 + 1) * 128
    in_dense = (128 * 2 * 2 + 1) * 64 + (64 + 1) * 5
    counted = total_parameters(layers(config, (3, 32, 32), 5))
    assert counted == sum(parameter.numel() for parameter in model.parameters()) == in_convs + in_dense == 303_397
