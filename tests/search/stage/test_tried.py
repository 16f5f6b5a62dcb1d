"""No configuration is tried twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution

from models.values import with_values
from search import names
from search.stage.draw_parameters import draw
from search.stage.feasibility import anything
from search.stage.pinning import pin_search
from search.stage.samplers import make_sampler
from search.stage.tried import Tried
from search.store.claims import Result, finish
from search.store.storage import Storage
from studies.definition import Sampler, Stage, choice, when
from tests.search.conftest import CONFIG, OpenStage, open_stage, tiny

CHOICES = {"filters": choice(4, 8, 16), "dense_width": choice(16, 32), "batch_norm": choice(True, False)}
"""Twelve configurations."""


def drawn(stage: OpenStage, count: int) -> list[dict[str, Any]]:
    """The parameters of the first trials, each told as if it had been trained: one region is clearly the best."""
    study = stage.storage.load_study(stage.record.optuna_study, sampler=make_sampler(stage.pinned))
    for _ in range(count):
        claim = stage.claim()
        trial = stage.storage.open_trial(study, claim.trial_id)
        draw(stage.storage, stage.pinned, trial, anything)
        finish(stage.storage, claim, Result(outcome="complete", value=trial.params["filters"] / 100))
    return [trial.params for trial in stage.storage.optuna.get_all_trials(study._study_id) if trial.params]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_eight_trials_of_a_space_of_twelve_configurations_are_all_different(sqlite: Storage, sampler: Sampler) -> None:
    found = drawn(open_stage(sqlite, sampler=sampler, space=CHOICES, trials=8), 8)
    assert len({tuple(sorted(params.items())) for params in found}) == 8


def test_without_the_rule_tpe_draws_the_same_configurations_again(
    sqlite: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tried, "holds", lambda *args: False)
    found = drawn(open_stage(sqlite, space=CHOICES, trials=8), 8)
    assert max(Counter(tuple(sorted(params.items())) for params in found).values()) > 1


def test_numbers_of_a_range_are_the_same_only_if_they_are_equal() -> None:
    tried = _tried({"learning_rate": FloatDistribution(1e-4, 1e-2, log=True), "filters": choice(4, 8)})
    tried.add(("own", 0), {"learning_rate": 1e-3, "filters": 8})
    assert tried.holds(("own", 1), {"learning_rate": 1e-3, "filters": 8})
    assert not tried.holds(("own", 1), {"learning_rate": 1.001e-3, "filters": 8})
    assert not tried.holds(("own", 1), {"learning_rate": 1e-3, "filters": 4})


def test_trials_around_two_bases_are_the_same_if_they_differ_in_what_is_searched_alone() -> None:
    study = tiny(space={"filters": choice(4, 8)}, bases=2)
    bases = [with_values(CONFIG, {"filters": 4}), with_values(CONFIG, {"filters": 8})]
    tried = Tried(pin_search(study, 0, study.stages[0], bases))
    tried.add(("own", 0), {names.BASE: 0, "filters": 4})
    assert tried.holds(("own", 1), {names.BASE: 1, "filters": 4})
    assert not tried.holds(("own", 1), {names.BASE: 1, "filters": 8})


def test_a_trial_is_not_compared_with_itself() -> None:
    tried = _tried(CHOICES)
    params = {"filters": 4, "dense_width": 16, "batch_norm": True}
    tried.add(("own", 0), params)
    assert tried.holds(("own", 1), params) and not tried.holds(("own", 0), params)


def test_a_parameter_that_does_not_exist_does_not_tell_configurations_apart() -> None:
    tried = _tried({"scheduler": choice("constant", "step"), "step_gamma": when(choice(0.1, 0.5), scheduler="step")})
    tried.add(("own", 0), {"scheduler": "constant"})
    tried.add(("own", 1), {"scheduler": "step", "step_gamma": 0.1})
    assert tried.holds(("own", 2), {"scheduler": "constant"})
    assert not tried.holds(("own", 2), {"scheduler": "step", "step_gamma": 0.5})


def test_a_trial_of_the_stage_before_has_the_start_s_value_of_what_it_did_not_search() -> None:
    first = Stage(name="first", trials=4, epochs=2, pruner="asha", space={"filters": choice(4, 8)})
    second = Stage(
        name="second", trials=4, epochs=2, pruner="asha", extends=True, space={"dropout": choice(0.0, 0.2)}
    )  # fmt: skip
    study = replace(tiny(), stages=(first, second))
    earlier = optuna.create_study()
    earlier.add_trial(
        optuna.trial.create_trial(value=0.5, params={"filters": 4}, distributions={"filters": choice(4, 8)})
    )
    tried = Tried(pin_search(study, 1, second, [with_values(CONFIG, {"dropout": 0.2})]), [earlier])
    tried.read(optuna.create_study(), 0)
    assert tried.holds(("own", 0), {"filters": 4, "dropout": 0.2})
    assert not tried.holds(("own", 0), {"filters": 4, "dropout": 0.0})


def _tried(space: dict[str, Any]) -> Tried:
    study = tiny(space=space)
    return Tried(pin_search(study, 0, study.stages[0], [CONFIG]))
