"""Grad-CAM on networks of which it is known where they look."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.config import FlexCNNConfig
from models.inspect import feature_maps, grad_cam
from models.registry import build_model


def color_detector() -> nn.Module:
    """Class 0 counts red pixels, class 1 counts green ones."""
    conv, output = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.eye(2, 3).view(2, 3, 1, 1))
        output.weight.copy_(torch.eye(2))
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), output)


def red_above_left_green_below_right() -> Tensor:
    image = torch.zeros(1, 3, 8, 8)
    image[0, 0, :4, :4] = 1
    image[0, 1, 4:, 4:] = 0.5
    return image


def test_the_quadrant_that_speaks_for_a_class_is_lit_and_nothing_else() -> None:
    image = red_above_left_green_below_right()
    red, green = grad_cam(color_detector(), image.repeat(2, 1, 1, 1), torch.tensor([0, 1]))
    assert np.array_equal(red, image[0, 0])
    assert np.array_equal(green, image[0, 1] * 2), "the strongest region of an image is 1"


def test_an_image_in_which_nothing_speaks_for_the_class_stays_dark() -> None:
    regions = grad_cam(color_detector(), torch.zeros(1, 3, 8, 8), torch.tensor([0]))
    assert not regions.any()


def test_with_mean_pooling_and_one_dense_layer_it_is_the_class_activation_map() -> None:
    """Selvaraju et al. 2017, section 3.1: Grad-CAM generalises CAM (Zhou et al. 2016)."""
    torch.manual_seed(0)
    config = FlexCNNConfig(
        conv_layers=2, filters=6, dense_width=0, head_pooling="avg", activation="silu", pooling="none", image_size=12
    )
    model = build_model(config, (3, 12, 12), 4)
    images = torch.randn(3, 3, 12, 12)
    classes = torch.tensor([3, 0, 2])

    regions = grad_cam(model, images, classes)

    weights = model.output.weight[classes].detach().numpy()
    expected = np.maximum(np.einsum("nk,nkhw->nhw", weights, feature_maps(model, images)["conv2"]), 0)
    np.testing.assert_allclose(regions, expected / expected.max(axis=(1, 2), keepdims=True), atol=1e-5)


class TwoBranches(nn.Module):
    """The classifier is given both branches; only the one that is not computed last sees anything."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed = _Concatenate()
        self.output = nn.Linear(2, 1, bias=False)
        nn.init.ones_(self.output.weight)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.mixed(images).mean(dim=(2, 3)))


class _Concatenate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seeing, self.blind = nn.Conv2d(3, 1, 1, bias=False), nn.Conv2d(3, 1, 1, bias=False)
        nn.init.ones_(self.seeing.weight)
        nn.init.zeros_(self.blind.weight)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.seeing(images), self.blind(images)], dim=1)


def test_all_parallel_branches_of_the_last_block_count() -> None:
    image = red_above_left_green_below_right()
    (regions,) = grad_cam(TwoBranches(), image, torch.tensor([0]))
    assert np.array_equal(regions, image[0].sum(dim=0))


def test_convs_on_pooled_maps_are_passed_over() -> None:
    squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(2, 2))
    model = nn.Sequential(nn.Conv2d(3, 2, 1), squeeze)
    regions = grad_cam(model, torch.rand(1, 3, 8, 8), torch.tensor([1]))
    assert regions.std() > 0


def test_small_maps_are_enlarged_to_the_image() -> None:
    model = nn.Sequential(nn.AvgPool2d(4), color_detector())
    (regions,) = grad_cam(model, red_above_left_green_below_right(), torch.tensor([0]))
    assert regions.shape == (8, 8)
    assert regions[0, 0] == 1
    assert regions[-1, -1] == 0
