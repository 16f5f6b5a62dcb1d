from __future__ import annotations

import pytest
import torch
from torch import nn

from models.complexity import layers, total_macs
from models.config import FlexCNNConfig
from models.flexcnn import FlexCNN
from models.training.precision import autocast, compute_dtype, count_macs

CPU = torch.device("cpu")
needs_native_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no native bfloat16"
)


def _auto(size: int, batch_size: int, **fields: int) -> torch.dtype:
    config = FlexCNNConfig(image_size=size, **fields)
    model = FlexCNN(config, (3, size, size), 10)
    return compute_dtype("auto", CPU, model, torch.zeros(1, 3, size, size), batch_size=batch_size)


@needs_native_bf16
def test_auto_takes_bfloat16_for_five_convs_at_32_pixels() -> None:
    assert _auto(32, batch_size=64) == torch.bfloat16


def test_auto_stays_with_float32_for_small_networks_and_small_batches() -> None:
    assert _auto(8, batch_size=64, conv_layers=2, filters=16) == torch.float32
    assert _auto(32, batch_size=2) == torch.float32


def test_a_cpu_without_native_bfloat16_stays_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)

    assert _auto(32, batch_size=64) == torch.float32


def test_auto_trains_a_head_on_features_in_float32_as_a_gang_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    head, features = nn.Linear(2048, 1000), torch.zeros(1, 2048)

    for device in (CPU, torch.device("cuda")):
        assert compute_dtype("auto", device, head, features, batch_size=512) == torch.float32


def test_float32_keeps_all_its_digits_in_convolutions_on_a_gpu() -> None:
    assert not torch.backends.cudnn.allow_tf32


def test_what_is_asked_for_is_taken() -> None:
    model, image = nn.Flatten(), torch.zeros(1, 1, 1, 1)

    assert compute_dtype("bf16", CPU, model, image, batch_size=1) == torch.bfloat16
    assert compute_dtype("fp32", CPU, model, image, batch_size=10**12) == torch.float32


def test_autocast_computes_in_the_dtype() -> None:
    layer, values = nn.Linear(2, 2), torch.zeros(1, 2)

    for dtype in (torch.bfloat16, torch.float32):
        with autocast(CPU, dtype):
            assert layer(values).dtype == dtype


def test_counting_macs_leaves_the_network_as_it_was() -> None:
    config = FlexCNNConfig(conv_layers=2, dropout=0.5)
    model = FlexCNN(config, (3, 16, 16), 10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(0)
    first_draw = torch.rand(1)
    torch.manual_seed(0)

    assert count_macs(model, torch.zeros(1, 3, 16, 16)) == total_macs(layers(config, (3, 16, 16), 10))

    assert torch.rand(1) == first_draw and model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
