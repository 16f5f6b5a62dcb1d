from __future__ import annotations

import pytest
import torch

from data.errors import InfeasibleConfig
from models.config import FlexCNNConfig
from models.flexcnn import FlexCNN
from models.shapes import network_shape


def test_five_unpadded_blocks_take_224_pixels_down_to_5() -> None:
    shape = network_shape(FlexCNNConfig(padding=0), (3, 224, 224), 10)

    assert [block.size for block in shape.blocks] == [(111, 111), (54, 54), (26, 26), (12, 12), (5, 5)]
    assert shape.features == 5 * 5 * 32


@pytest.mark.parametrize(("factor", "filters"), [(1, [32, 32, 32]), (2, [32, 64, 128]), (0.5, [32, 16, 8])])
def test_the_factor_decides_the_filters_of_each_layer(factor: float, filters: list[int]) -> None:
    shape = network_shape(FlexCNNConfig(conv_layers=3, filter_factor=factor), (3, 32, 32), 10)

    assert [block.filters for block in shape.blocks] == filters


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_divides_the_size_by_the_stride_whatever_the_kernel(kernel_size: int, stride: int) -> None:
    config = FlexCNNConfig(conv_layers=1, kernel_size=kernel_size, stride=stride, pooling="none")

    (block,) = network_shape(config, (3, 13, 10), 10).blocks

    assert block.size == (-(-13 // stride), -(-10 // stride))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"image_size": 8}, "conv4: max pooling by 2 does not fit into 1x1 pixels"),
        ({"image_size": 8, "padding": 0, "kernel_size": 5}, "conv2: a 5x5 kernel does not fit into 2x2 pixels"),
        ({"filters": (8, 16)}, "filters=8,16: 2 values for conv_layers=5"),
        ({"kernel_size": (3, 3, 3, 3, 3, 3)}, "kernel_size=3,3,3,3,3,3: 6 values for conv_layers=5"),
        ({"filters": 4, "filter_factor": 0.5}, "conv4: no filters left (filters=4, filter_factor=0.5)"),
        ({"conv_layers": 1, "filters": 512, "dense_width": 4096}, "dense: 26,306,674,688 parameters in one layer"),
        ({"filter_factor": 1e300}, "conv2: "),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_with_the_layer_and_the_size(
    fields: dict[str, object], complaint: str
) -> None:
    config = FlexCNNConfig(**fields)
    size = config.image_size

    with pytest.raises(InfeasibleConfig) as refusal, torch.device("meta"):
        FlexCNN(config, (3, size, size), 10)

    assert str(refusal.value).startswith(complaint)
    assert "\n" not in str(refusal.value)
