import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from models.config import BackboneConfig
from models.registry import build_model
from models.stochastic_depth import set_stochastic_depth


@pytest.mark.parametrize("backbone", ["timm/tf_efficientnet_lite0", "timm/test_vit"])
def test_the_probability_rises_from_the_first_block_to_the_last(backbone: str) -> None:
    pytest.importorskip("timm")
    config = BackboneConfig(
        backbone=backbone, weights="none", freezing="unfreeze_all", stochastic_depth=0.4, image_size=64
    )
    model = build_model(config, (3, 64, 64), 2)
    rates = [module.p for module in model.modules() if isinstance(module, StochasticDepth)]
    assert len(rates) >= 3 and max(rates) == rates[-1] == pytest.approx(0.4) and rates == sorted(rates)
    images_NCHW = torch.randn(16, 3, 64, 64)
    with torch.no_grad():
        model.train()
        for norm in model.modules():
            norm.eval() if isinstance(norm, nn.BatchNorm2d | nn.Dropout) else None
        assert not torch.equal(model(images_NCHW), model(images_NCHW))
        model.eval()
        assert torch.equal(model(images_NCHW), model(images_NCHW))


def test_a_network_without_residual_blocks_to_skip_is_left_alone() -> None:
    assert set_stochastic_depth(nn.Sequential(nn.Conv2d(3, 4, 3)), 0.5) == 0


def test_the_probabilities_of_torchvisions_blocks_are_replaced() -> None:
    network = nn.Sequential(*(StochasticDepth(0.9, "row") for _ in range(3)))
    assert set_stochastic_depth(network, 0.4) == 3
    assert [block.p for block in network] == pytest.approx([0, 0.2, 0.4])
