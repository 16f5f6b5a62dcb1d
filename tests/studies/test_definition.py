from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from data.errors import UserError
from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study, choice, when


def study(**changes: Any) -> Study:
    stage = {"name": "rates", "trials": 4, "epochs": 2, "space": {"dropout": choice(0.0, 0.1)}} | changes
    return Study(name="mine", description="", config=FlexCNNConfig(), stages=(Stage(**stage),))


def test_an_unknown_field_is_an_error_when_the_study_is_defined_with_the_nearest_spelling() -> None:
    with pytest.raises(UserError, match=r"mine/rates: unknown field 'droput'.*dropout"):
        study(space={"droput": choice(0.1, 0.2)})


def test_a_choice_that_the_field_does_not_allow_is_an_error_when_the_study_is_defined() -> None:
    with pytest.raises(UserError, match=r"mine/rates: .*optimizer"):
        study(space={"optimizer": choice("adam", "lion")})


def test_a_range_beyond_the_field_s_own_is_an_error() -> None:
    with pytest.raises(UserError, match="dropout"):
        study(space={"dropout": FloatDistribution(0.0, 1.5)})


def test_a_space_that_depends_on_its_base_is_checked_too() -> None:
    with pytest.raises(UserError, match="learning_rat"):
        study(space=lambda base: {"learning_rat": FloatDistribution(base.learning_rate, 1.0)})


def test_a_condition_on_an_impossible_value_is_an_error() -> None:
    with pytest.raises(UserError, match="scheduler"):
        study(space={"step_gamma": when(choice(0.1, 0.5), scheduler="stairs")})


def test_a_grid_over_a_range_without_steps_is_an_error() -> None:
    with pytest.raises(UserError, match=r"a grid needs a finite number of values, but .* has a range without a step"):
        study(sampler="grid", space={"learning_rate": FloatDistribution(1e-4, 1e-2)})


def test_two_stages_of_one_name_are_an_error() -> None:
    stage = Stage(name="rates", trials=1, epochs=1, space={})
    with pytest.raises(UserError, match="same name"):
        Study(name="mine", description="", config=FlexCNNConfig(), stages=(stage, stage))


@pytest.mark.parametrize("changes", [{"trials": 0}, {"epochs": 0}, {"bases": 0}, {"name": "a/b"}])
def test_counts_below_one_and_names_with_a_slash_are_errors(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        study(**changes)


def test_a_confirmation_needs_a_finalist_and_a_seed() -> None:
    stage = Stage(name="rates", trials=1, epochs=1, space={})
    with pytest.raises(UserError, match="confirmation"):
        Study(name="m", description="", config=FlexCNNConfig(), stages=(stage,), confirm=Confirm(seeds=0))


def test_a_loss_is_minimised_and_an_accuracy_maximised() -> None:
    stage = Stage(name="rates", trials=1, epochs=1, space={})
    by_loss = Study(name="m", description="", config=FlexCNNConfig(), stages=(stage,), metric="val_loss")
    assert (by_loss.direction, study().direction) == ("minimize", "maximize")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sampler": "tpee"}, r"mine/rates: sampler 'tpee' is not one of tpe, gp"),
        ({"pruner": "medain"}, r"mine/rates: pruner 'medain' is not one of median"),
        ({"name": "confirm"}, r"mine/confirm: 'confirm' is reserved for the last stage"),
    ],
)
def test_a_misspelled_sampler_or_pruner_and_a_stage_named_confirm_are_errors(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        study(**changes)


@pytest.mark.parametrize(
    "changes", [{"metric": "accuracy"}, {"val_fraction": 1.5}, {"seed": -1}, {"confirm": Confirm(epochs=0)}]
)
def test_a_studys_fields_are_checked_when_it_is_defined(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="mine"):
        Study(name="mine", description="", config=FlexCNNConfig(), stages=study().stages, **changes)


@pytest.mark.parametrize("value", [(3, 3), None, {"a": 1}, np.int64(3)])
def test_choices_that_a_database_cannot_give_back_are_refused_with_what_can_be_written(value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's, about the same.
        distribution = CategoricalDistribution([value])
    with pytest.raises(UserError, match=r"mine/rates: kernel_size: .* cannot be stored; give text, numbers"):
        study(space={"kernel_size": distribution})


def test_a_confirmation_has_at_most_one_run_of_a_finalist_on_each_fold() -> None:
    whole = replace(study(), confirm=Confirm(seeds=2), folds=2)
    with pytest.raises(UserError, match=r"mine: a confirmation on 2 folds .* at most 2 seeds, not 3: .*seeds=2\)"):
        replace(whole, confirm=Confirm(seeds=3))


@pytest.mark.parametrize("confirm", [Confirm(combine="soup"), Confirm(mirror=True)])
def test_a_combination_needs_seeds_that_measure_the_noise_and_a_single_validation_set(confirm: Confirm) -> None:
    whole = study()
    assert replace(whole, confirm=confirm).combines and not whole.combines
    with pytest.raises(UserError, match=r"mine/confirm: combine and mirror need at least 2 seeds"):
        replace(whole, confirm=replace(confirm, seeds=1))
    with pytest.raises(UserError, match=r"a single validation set; set seeds=2 and folds=0"):
        replace(whole, confirm=confirm, folds=3)
    with pytest.raises(UserError, match=r"combine 'stew' is not one of none, soup, ensemble"):
        replace(whole, confirm=Confirm(combine="stew"))


@pytest.mark.parametrize("changes", [{"sampler": "grid"}, {"against": "parameters", "pruner": "none"}])
def test_a_grid_and_a_stage_with_two_aims_cannot_end_early(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="mine/rates: early_end: a grid trains every cell"):
        study(early_end=True, **changes)
