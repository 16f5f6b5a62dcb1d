"""The trials that a sampler's model is made of."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.stage.model_trials import BEST, NEWEST, ModelTrials
from search.stage.samplers import TrialSeeded


def trial(number: int, value: float, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    made = create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params={"x": value},
        distributions={"x": FloatDistribution(0.0, 1.0)},
        intermediate_values={1: value},
    )
    made.number = number
    return made


@pytest.mark.parametrize("maximize", [True, False])
def test_a_stage_that_grows_shows_the_same_trials_as_one_that_is_seen_at_once(maximize: bool) -> None:
    draw, grown = random.Random(0), ModelTrials()
    trials: list[FrozenTrial] = []
    for number in range(BEST + NEWEST + 200):
        state = draw.choice((TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING))
        trials.append(trial(number, round(draw.random(), 1), state))
        if number % 17 == 0:  # One that was running ends.
            place = draw.randrange(len(trials))
            trials[place] = trial(place, round(draw.random(), 1))
        shown = grown.choose(list(trials), maximize=maximize)
        assert shown == ModelTrials().choose(list(trials), maximize=maximize)
        assert len(shown) == min(len(trials), BEST + NEWEST)
    older = sorted(
        trials[:-NEWEST], key=lambda one: -one.intermediate_values[1] if maximize else one.intermediate_values[1]
    )
    complete = [one for one in older if one.state == TrialState.COMPLETE]
    best = complete[BEST - 1].intermediate_values[1]
    assert all((one.values[0] >= best) if maximize else (one.values[0] <= best) for one in shown[:BEST])


def test_waiting_trials_take_no_place_in_the_model_of_a_long_stage() -> None:
    seen: list[list[int]] = []

    class Watched(optuna.samplers.RandomSampler):
        def sample_relative(self, study, trial, search_space):  # type: ignore[no-untyped-def]
            seen.append([one.number for one in study.get_trials(deepcopy=False)])
            return {}

    study = optuna.create_study(direction="maximize", sampler=TrialSeeded(lambda seed: Watched(seed=seed), 0))
    study.add_trials([trial(number, 0.5) for number in range(200)])
    for _ in range(BEST + NEWEST):
        study.enqueue_trial({})
    study.ask().suggest_float("x", 0.0, 1.0)
    assert seen == [list(range(201))]
