"""`around(...)`: a stage begins with the user's guess, and draws near it while its sampler has no model."""

from __future__ import annotations

import json
import math
from statistics import fmean, stdev

import optuna
import pytest
from optuna.distributions import FloatDistribution, json_to_distribution

from data.errors import UserError
from models.config import FlexCNNConfig
from search.stage.pinning import pin_search
from search.stage.samplers import make_sampler
from search.stage.suggest import suggest_config
from search.store.pinned_stage import PinnedStage
from studies.definition import Sampler, Stage, Study, around, when

CONFIG = FlexCNNConfig(image_size=8, learning_rate=0.01)


def pin(sampler: Sampler, trials: int = 40) -> PinnedStage:
    space = {"learning_rate": around(1e-3), "step_gamma": when(around(0.2, 2), scheduler="step")}
    stage = Stage(name="s", trials=trials, epochs=3, space=space, sampler=sampler)
    return pin_search(Study(name="mine", description="", config=CONFIG, stages=(stage,)), 0, stage, [CONFIG])


def test_a_stage_begins_with_the_guess_and_stores_a_range_that_optuna_knows() -> None:
    pinned = pin("tpe")
    assert pinned.queue[0] == {"learning_rate": 1e-3}
    rate, *_ = PinnedStage.from_json(json.loads(json.dumps(pinned.to_json()))).spaces[0]
    assert rate.guess == 1e-3
    distribution = json_to_distribution(rate.distribution)
    assert isinstance(distribution, FloatDistribution) and distribution.log
    assert (distribution.low, distribution.high) == pytest.approx((1e-4, 1e-2))


def test_a_random_search_draws_near_the_guess() -> None:
    drawn = [math.log10(fixed["learning_rate"]) for fixed in pin("random", trials=300).queue]
    assert fmean(drawn) == pytest.approx(-3, abs=0.1)
    assert 0.35 < stdev(drawn) < 0.55  # Uniform draws have 0.58.
    assert min(drawn) >= -4 and max(drawn) <= -2


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_samplers_draw_near_the_guess_until_they_have_a_model(sampler: Sampler) -> None:
    pinned = pin(sampler)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    first = []
    for seed in range(30):
        study = optuna.create_study(sampler=make_sampler(PinnedStage(**{**vars(pinned), "seed": seed})))
        first.append(math.log10(suggest_config(pinned, study.ask()).learning_rate))
    assert stdev(first) < 0.55 and len(set(first)) == 30


def test_a_guess_that_is_no_guess_is_refused() -> None:
    with pytest.raises(UserError, match="the guess must be above 0"):
        around(0)
