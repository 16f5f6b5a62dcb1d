import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.reference_conv import Pair, conv2d, filter_channels

TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Case:
    images: int
    inputs: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int] = (3, 3)
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True

    @property
    def geometry(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}


PUBLISHED = {
    "one channel": Case(images=1, inputs=1, outputs=1, size=(28, 28)),
    "colours": Case(images=4, inputs=3, outputs=16, size=(64, 64), padding=1),
    "without bias": Case(images=4, inputs=16, outputs=32, size=(32, 32), padding=1, bias=False),
    "pointwise": Case(images=4, inputs=128, outputs=128, size=(56, 56), kernel=(1, 1)),
    "128 to 128 channels": Case(images=4, inputs=128, outputs=128, size=(56, 56), padding=1),
    "81 to 243 channels": Case(images=2, inputs=81, outputs=243, size=(56, 56), padding=1),
    "81 to 243 channels in 81 groups": Case(images=2, inputs=81, outputs=243, size=(56, 56), padding=1, groups=81),
    "stride": Case(images=4, inputs=64, outputs=128, size=(57, 64), kernel=(5, 5), stride=2, padding=2),
    "strides that differ": Case(images=2, inputs=32, outputs=48, size=(50, 61), stride=(3, 2), padding=(0, 1)),
    "kernel of 9 x 7": Case(images=2, inputs=64, outputs=64, size=(48, 56), kernel=(9, 7), padding=(4, 3)),
    "kernel of 1 x 7": Case(images=2, inputs=32, outputs=32, size=(40, 40), kernel=(1, 7), padding=(0, 3)),
    "dilation": Case(images=2, inputs=64, outputs=64, size=(56, 56), padding=3, dilation=3),
    "dilations that differ": Case(images=2, inputs=24, outputs=36, size=(44, 38), padding=2, dilation=(1, 3)),
    "64 groups": Case(images=4, inputs=128, outputs=128, size=(56, 56), padding=1, groups=64),
    "all at once": Case(
        images=3, inputs=128, outputs=192, size=(61, 45), kernel=(9, 7), stride=(2, 3), padding=(5, 2), dilation=(3, 2),
        groups=64,
    ),
}  # fmt: skip


def drawn(seed: int) -> Case:
    """A case that nobody chose."""
    draw = random.Random(seed)
    groups = draw.choice((1, 2, 3, 8))
    return Case(
        images=draw.randint(1, 3),
        inputs=groups * draw.randint(1, 6),
        outputs=groups * draw.randint(1, 6),
        size=(draw.randint(13, 40), draw.randint(13, 40)),
        kernel=(draw.randint(1, 5), draw.randint(1, 5)),
        stride=(draw.randint(1, 3), draw.randint(1, 3)),
        padding=(draw.randint(0, 4), draw.randint(0, 4)),
        dilation=(draw.randint(1, 3), draw.randint(1, 3)),
        groups=groups,
        bias=draw.random() < 0.5,
    )


CASES = {**PUBLISHED, **{f"drawn {seed}": drawn(seed) for seed in range(12)}}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_reference_convolution_equals_the_librarys(case: Case) -> None:
    torch.manual_seed(0)
    images = torch.randn(case.images, case.inputs, *case.size)
    layer = nn.Conv2d(case.inputs, case.outputs, case.kernel, bias=case.bias, **case.geometry)
    with torch.no_grad():
        ours = conv2d(images, layer.weight, layer.bias, **case.geometry)
        torch.testing.assert_close(ours, layer(images), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("stride", [1, (2, 3)])
@pytest.mark.parametrize("kernel", [(3, 3), (9, 7)])
def test_a_box_blur_equals_the_mean_of_each_window(kernel: tuple[int, int], stride: Pair) -> None:
    images = torch.rand(2, 128, 40, 50)
    padding = (kernel[0] // 2, kernel[1] // 2)
    blurred = filter_channels(images, torch.full(kernel, 1 / (kernel[0] * kernel[1])), stride=stride, padding=padding)
    torch.testing.assert_close(
        blurred, nn.functional.avg_pool2d(images, kernel, stride, padding), rtol=0, atol=TOLERANCE
    )


def test_a_filter_keeps_the_channels_apart() -> None:
    edges = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    images = torch.rand(2, 5, 20, 30)
    grouped = nn.functional.conv2d(images, edges.expand(5, 1, 3, 3), groups=5, dilation=2)
    torch.testing.assert_close(filter_channels(images, edges, dilation=2), grouped, rtol=0, atol=TOLERANCE)


def test_images_in_any_memory_format_give_the_same_maps() -> None:
    images, weight = torch.randn(2, 8, 16, 17)[:, :, 1:], torch.randn(4, 8, 3, 3)
    by_channel = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(conv2d(images, weight), conv2d(by_channel, weight), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("shape", "weight", "options", "message"),
    [
        ((1, 4, 9, 9), (8, 3, 3, 3), {}, "takes 3 channels"),
        ((1, 6, 9, 9), (8, 2, 3, 3), {"groups": 3}, "returns a multiple of 3"),
        ((1, 3, 4, 9), (8, 3, 3, 3), {"dilation": 2}, "4x9 px, padded, are smaller than a kernel of 3x3"),
    ],
)
def test_a_batch_that_does_not_fit_is_reported(
    shape: tuple[int, ...], weight: tuple[int, ...], options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        conv2d(torch.zeros(shape), torch.zeros(weight), **options)
