from __future__ import annotations

import subprocess
import sys

import pytest

from data.errors import UserError
from models.config import FlexCNNConfig
from models.registry import MODELS, build_skeleton, config_class
from models.values import from_flat, parse_assignment, to_flat, with_values


def test_a_configuration_survives_becoming_flat_values_and_text() -> None:
    config = FlexCNNConfig(conv_layers=3, filters=(8, 16, 32), kernel_size=5, padding=2, dropout=0.25, nesterov=False)

    flat = to_flat(config)

    assert flat["model"] == "flexcnn" and flat["filters"] == "8,16,32" and flat["padding"] == 2
    assert from_flat(flat) == config
    assert from_flat({name: str(value) for name, value in flat.items()}) == config


def test_replaced_values_are_converted_and_the_original_is_left_alone() -> None:
    config = FlexCNNConfig()

    changed = with_values(config, {"filters": "4,5", "conv_layers": "2", "filter_factor": "doubling", "nesterov": "no"})

    assert changed == FlexCNNConfig(filters=(4, 5), conv_layers=2, filter_factor=2.0, nesterov=False)
    assert config == FlexCNNConfig()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"droput": 0.1}, "unknown field 'droput'. Did you mean 'dropout'?"),
        ({"dropout": "lots"}, "dropout='lots': give a number of at least 0 and below 1"),
        ({"dropout": 1}, "dropout=1: give a number of at least 0 and below 1"),
        ({"dropout": float("nan")}, "dropout=nan: give a number of at least 0 and below 1"),
        ({"learning_rate": 0}, "learning_rate=0: give a number above 0"),
        ({"rotation": "270"}, "rotation='270': give a number from 0 to 180"),
        ({"resized_crop": 2}, "resized_crop=2: give a number above 0 and at most 1"),
        ({"epochs": "1.5"}, "epochs='1.5': give a whole number of at least 1"),
        ({"optimizer": "adagrad"}, "optimizer='adagrad': give one of adam, nadam, radam, adamw, sgd"),
        ({"nesterov": "perhaps"}, "nesterov='perhaps': give true or false"),
        ({"padding": "valid"}, "padding='valid': give a whole number of at least 0 or 'same'"),
        (
            {"filters": "8,x"},
            "filters='8,x': give a whole number of at least 1 or "
            "several, each a whole number of at least 1, separated by commas",
        ),
        ({"model": "flexcn"}, "unknown model 'flexcn'. Did you mean 'flexcnn'?"),
    ],
)
def test_a_bad_value_is_one_line_with_what_is_needed(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as complaint:
        with_values(FlexCNNConfig(), values)

    assert str(complaint.value) == message


def test_values_without_a_model_are_refused() -> None:
    with pytest.raises(UserError, match=r"^model=None: give the name of a model, one of flexcnn"):
        from_flat({"dropout": 0.1})


def test_an_assignment_is_split_at_the_first_equals_sign() -> None:
    assert parse_assignment("dropout=0.1") == ("dropout", "0.1")
    assert parse_assignment(" filters = 3,4 ") == ("filters", "3,4")


@pytest.mark.parametrize("text", ["dropout", "=0.1", "dropout=", ""])
def test_what_is_not_an_assignment_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write FIELD=VALUE"):
        parse_assignment(text)


def test_every_family_builds_from_its_own_configuration() -> None:
    for name, family in MODELS.items():
        assert config_class(name) is family.config
        model = build_skeleton(from_flat({"model": name, "image_size": 32}), (3, 32, 32), 4)
        assert sum(weight.numel() for weight in model.parameters()) > 0


def test_reading_configurations_does_not_import_torch() -> None:
    code = "import sys, models.values, models.complexity; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
