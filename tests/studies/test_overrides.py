from __future__ import annotations

from dataclasses import replace

import pytest
from optuna.distributions import FloatDistribution

from data.errors import UserError
from models.config import FlexCNNConfig
from studies.definition import Stage, Study, choice
from studies.overrides import end_early, fix_fields, scale_epochs, scale_trials

STUDY = Study(
    name="mine",
    description="",
    config=FlexCNNConfig(epochs=10),
    stages=(
        Stage(name="one", trials=20, epochs=10, space={"dropout": choice(0.0, 0.1), "epochs": choice(10, 20, 25)}),
        Stage(
            name="two",
            trials=3,
            epochs=4,
            values={"image_size": 64},
            space=lambda base: {
                "dropout": choice(0.2, 0.3),
                "learning_rate": FloatDistribution(base.learning_rate, base.learning_rate * 2),
            },
        ),
    ),
)


def test_a_fixed_field_is_set_and_leaves_every_space_and_every_stage_s_own_values() -> None:
    fixed = fix_fields(STUDY, {"dropout": "0.5", "image_size": 96})
    assert fixed.config.dropout == 0.5 and fixed.config.image_size == 96  # type: ignore[attr-defined]
    assert [set(stage.space_around(fixed.config)) for stage in fixed.stages] == [{"epochs"}, {"learning_rate"}]
    assert fixed.stages[1].values == {}


def test_a_misspelled_field_is_an_error() -> None:
    with pytest.raises(UserError, match="droput"):
        fix_fields(STUDY, {"droput": 0.1})


def test_trials_are_scaled_and_never_fewer_than_two() -> None:
    assert [stage.trials for stage in scale_trials(STUDY, 0.1).stages] == [2, 2]
    assert [stage.trials for stage in scale_trials(STUDY, 2.0).stages] == [40, 6]


def test_epochs_are_scaled_wherever_they_stand() -> None:
    scaled = scale_epochs(STUDY, 0.1)
    assert [stage.epochs for stage in scaled.stages] == [1, 1]
    assert scaled.stages[0].space_around(STUDY.config)["epochs"] == choice(1, 2)


PICKED = replace(
    STUDY,
    stages=(
        replace(STUDY.stages[0], tries=({"dropout": 0.1, "epochs": 20}, {"dropout": 0.0})),
        replace(STUDY.stages[1], tries=({"learning_rate": 1e-3},)),
    ),
)


def test_a_fixed_field_leaves_the_hand_picked_trials_too() -> None:
    fixed = fix_fields(PICKED, {"dropout": 0.3})
    assert [stage.tries for stage in fixed.stages] == [({"epochs": 20},), ({"learning_rate": 1e-3},)]


def test_epochs_of_hand_picked_trials_are_scaled_like_those_of_the_space() -> None:
    first = scale_epochs(PICKED, 0.1).stages[0]
    assert first.tries == ({"dropout": 0.1, "epochs": 2}, {"dropout": 0.0})
    assert first.tries[0]["epochs"] in first.space_around(STUDY.config)["epochs"].choices


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), 2000.0])
def test_a_scale_outside_its_limits_is_an_error_that_names_both(scale: float) -> None:
    with pytest.raises(UserError, match=r"--trials-scale .*: give a number above 0 and at most 1000, such as 0\.1"):
        scale_trials(STUDY, scale)


def test_every_stage_but_a_grid_may_end_early() -> None:
    grid = Stage(name="grid", trials=1, epochs=2, sampler="grid", pruner="none", space={"dropout": choice(0.0, 0.1)})
    mixed = end_early(replace(STUDY, stages=(*STUDY.stages, grid)))
    assert [stage.early_end for stage in mixed.stages] == [True, True, False]
    with pytest.raises(UserError, match="--early-end: mine has no stage that can end early"):
        end_early(replace(STUDY, stages=(grid,)))
