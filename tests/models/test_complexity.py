from __future__ import annotations

import json
import random
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from data.errors import InfeasibleConfig
from models.complexity import closed_form, layers, main, total_macs, total_parameters
from models.config import FlexCNNConfig
from models.flexcnn import FlexCNN


def _random_config(draw: random.Random) -> FlexCNNConfig:
    conv_layers = draw.randint(1, 5)
    one_or_per_layer = draw.random() < 0.5
    fields: dict[str, Any] = {
        "conv_layers": conv_layers,
        "filters": draw.randint(1, 20) if one_or_per_layer else tuple(draw.choices(range(1, 20), k=conv_layers)),
        "filter_factor": draw.choice([0.5, 1.0, 1.5, 2.0]),
        "kernel_size": draw.randint(1, 5) if one_or_per_layer else tuple(draw.choices(range(1, 6), k=conv_layers)),
        "padding": draw.choice(["same", 0, 1, 2]),
        "stride": draw.choice([1, 1, 2]),
        "pooling": draw.choice(["max", "avg", "none"]),
        "pool_size": draw.choice([1, 2, 3]),
        "head_pooling": draw.choice(["flatten", "avg"]),
        "batch_norm": draw.random() < 0.5,
        "dense_width": draw.choice([0, 13]),
    }
    return FlexCNNConfig(**fields)


def test_macs_and_parameters_are_those_of_the_built_network_and_of_torchs_own_counter() -> None:
    draw, checked = random.Random(0), 0
    while checked < 60:
        config, shape, classes = _random_config(draw), (draw.randint(1, 4), draw.randint(9, 40), 33), draw.randint(2, 9)
        try:
            costs = layers(config, shape, classes)
        except InfeasibleConfig:
            continue
        model = FlexCNN(config, shape, classes).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, *shape))

        modules = dict(model.named_modules())
        for cost in costs:
            assert cost.parameters == sum(weight.numel() for weight in modules[cost.name].parameters()), (cost, config)
        assert total_parameters(costs) == sum(weight.numel() for weight in model.parameters())
        assert 2 * total_macs(costs) == counter.get_total_flops(), config
        checked += 1


def test_each_layers_output_shape_and_macs_are_those_that_the_network_computes() -> None:
    config = FlexCNNConfig(conv_layers=3, filters=4, filter_factor=2, kernel_size=(3, 4, 5), stride=2, pooling="none")
    costs = {cost.name: cost for cost in layers(config, (3, 30, 21), 10)}
    model = FlexCNN(config, (3, 30, 21), 10)
    seen: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_children():
        module.register_forward_hook(lambda _m, _i, output, name=name: seen.update({name: tuple(output.shape[1:])}))
    model(torch.zeros(2, 3, 30, 21))

    assert {name: cost.output_shape for name, cost in costs.items()} == {name: seen[name] for name in costs}
    assert costs["conv1"].macs == 15 * 11 * 3 * 3 * 3 * 4


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("dense_width", [0, 77])
@pytest.mark.parametrize("head_pooling", ["flatten", "avg"])
@pytest.mark.parametrize("conv_layers", [1, 4])
def test_the_closed_form_gives_the_exact_totals_for_any_m_k_and_n(
    batch_norm: bool, dense_width: int, head_pooling: Any, conv_layers: int
) -> None:
    common: dict[str, Any] = {"batch_norm": batch_norm, "head_pooling": head_pooling, "conv_layers": conv_layers}
    formula = closed_form(FlexCNNConfig(dense_width=dense_width, **common), (3, 50, 40), 10)

    for m, k, n in [(1, 1, 1), (17, 3, 128), (40, 4, 9)]:
        config = FlexCNNConfig(filters=m, kernel_size=k, dense_width=n if dense_width else 0, **common)
        costs = layers(config, (3, 50, 40), 10)
        assert _evaluate(formula.macs, m, k, n) == total_macs(costs)
        assert _evaluate(formula.parameters, m, k, n) == total_parameters(costs)


def test_without_same_padding_the_closed_form_names_the_kernel_that_it_holds_for() -> None:
    formula = closed_form(FlexCNNConfig(padding=0, kernel_size=5), (3, 224, 224), 10)
    costs = layers(FlexCNNConfig(padding=0, kernel_size=5, filters=9, dense_width=70), (3, 224, 224), 10)

    assert formula.note.endswith("k = 5")
    assert _evaluate(formula.macs, 9, 5, 70) == total_macs(costs)


def _evaluate(formula: str, m: int, k: int, n: int) -> int:
    return int(eval(formula.replace("·", "*").replace("²", "**2"), {"m": m, "k": k, "n": n}))


def test_the_command_prints_the_table_and_the_closed_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--image-size", "32", "--set", "filters=16", "--set", "conv_layers=2"]) == 0

    printed = capsys.readouterr().out
    assert "conv2" in printed and "16x16x16" in printed and "k²·m·(3072 + 256·m) + 64·m·n + 10·n" in printed


def test_the_command_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--image-size", "32", "--channels", "1", "--classes", "4", "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    assert report["macs"] == sum(layer["macs"] for layer in report["layers"])
    assert report["layers"][-1] == {
        "name": "output",
        "kind": "dense",
        "output_shape": [4],
        "macs": 512,
        "parameters": 516,
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--set", "filtres=3"], "unknown field 'filtres'. Did you mean 'filters'?\n"),
        (["--set", "filters"], "'filters': write FIELD=VALUE, e.g. dropout=0.1\n"),
        (["--filtres", "3"], "python -m models.complexity: unrecognized arguments: --filtres 3; --help lists"),
        (["--image-size", "4"], "conv3: max pooling by 2 does not fit into 1x1 pixels; use fewer"),
    ],
)
def test_bad_input_to_the_command_is_one_line_and_exit_code_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.startswith(f"error: {complaint}") and streams.err.count("\n") == 1
