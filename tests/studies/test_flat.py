from __future__ import annotations

from dataclasses import replace

import pytest
from optuna.distributions import FloatDistribution

from data.errors import UserError
from models.config import FlexCNNConfig, TrainConfig
from studies.definition import Space, Stage, Study, choice, when
from studies.flat import flatten
from studies.load import load_study


def around(base: TrainConfig) -> Space:
    return {
        "learning_rate": FloatDistribution(base.learning_rate / 2, base.learning_rate * 2, log=True),
        "scheduler": choice("constant", "step"),
        "step_gamma": when(choice(0.1, 0.5), scheduler="step"),
    }


FIRST = Stage(
    name="one", trials=20, epochs=2, values={"image_size": 32},
    space={"filters": choice(8, 16), "learning_rate": FloatDistribution(1e-4, 1e-1, log=True)},
)  # fmt: skip
SECOND = Stage(name="two", trials=10, epochs=8, bases=3, values={"image_size": 64}, space=around)
GRID = Stage(name="three", trials=1, epochs=2, sampler="grid", pruner="none", space={"dropout": choice(0.0, 0.1)})
STUDY = Study(name="mine", description="", config=FlexCNNConfig(), stages=(FIRST, SECOND))


def test_all_parameters_are_searched_at_once_for_as_many_epochs() -> None:
    study = flatten(STUDY)
    (stage,) = study.stages
    assert (study.name, stage.trials * stage.epochs) == ("mine-flat", 20 * 2 + 10 * 8)
    assert stage.values == {"image_size": 64}
    space = stage.space_around(study.config)
    assert list(space) == ["filters", "learning_rate", "scheduler", "step_gamma"]
    assert space["learning_rate"] == FIRST.space_around(study.config)["learning_rate"]


@pytest.mark.parametrize("stages", [(FIRST,), (FIRST, GRID)], ids=["one", "a grid"])
def test_what_cannot_be_flattened_is_refused(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(UserError, match="--flat: mine does not have two stages"):
        flatten(replace(STUDY, stages=stages))


@pytest.mark.parametrize("name", ["quickstart", "partA", "partB", "cifar10", "hymenoptera", "resnet-cifar10"])
def test_the_staged_studies_can_be_searched_flat(name: str) -> None:
    staged = load_study(name)
    (stage,) = flatten(staged).stages
    names = {parameter for stage in staged.stages for parameter in stage.space_around(staged.config)}
    assert set(stage.space_around(staged.config)) == names


def test_a_flat_search_may_end_early_if_a_stage_may() -> None:
    (stage,) = flatten(replace(STUDY, stages=(FIRST, replace(SECOND, early_end=True)))).stages
    assert stage.early_end and not flatten(STUDY).stages[0].early_end


def test_a_flat_search_begins_with_the_hand_picked_trials_of_all_stages() -> None:
    picked = [replace(FIRST, tries=({"filters": 16},)), replace(SECOND, tries=({"scheduler": "step"},))]
    (stage,) = flatten(replace(STUDY, stages=tuple(picked))).stages
    assert stage.tries == ({"filters": 16}, {"scheduler": "step"})
