"""The gain that a stage can still bring, on made-up functions of two parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from models.values import to_flat, with_values
from search import names
from search.stage.pinning import pin_search
from search.stage.possible_gain import possible_gain
from search.store.pinned_stage import PinnedStage
from tests.search.conftest import CONFIG, tiny

SPACE = {"dropout": FloatDistribution(0.0, 0.8), "learning_rate": FloatDistribution(1e-4, 1e-1, log=True)}
NOISE = 0.005


def stage(metric: str = "val_accuracy") -> PinnedStage:
    study = replace(tiny(space=SPACE), metric=metric)
    return pin_search(study, 0, study.stages[0], [CONFIG])


def hill(dropout: float) -> float:
    return 0.9 - (dropout - 0.4) ** 2


def trials(count: int, value: Callable[[float], float], *, most: float = 0.8) -> list[FrozenTrial]:
    """Trials whose dropout is at most `most`, with noise in their values."""
    random, found = Random(0), []
    for _ in range(count):
        params = {"dropout": random.uniform(0.0, most), "learning_rate": 10 ** random.uniform(-4, -1)}
        attributes = {names.CONFIG: to_flat(with_values(CONFIG, params))}
        noisy = value(params["dropout"]) + random.gauss(0.0, NOISE)
        found.append(create_trial(value=noisy, params=params, distributions=SPACE, user_attrs=attributes))
    return found


def test_where_the_hill_has_been_climbed_the_gain_is_about_the_noise() -> None:
    assert 0.0 < possible_gain(stage(), trials(60, hill)) < 2 * NOISE


def test_where_the_hill_rises_towards_a_part_that_no_trial_has_reached_the_gain_is_large() -> None:
    """The best of these trials lies 0.04 below the top."""
    assert possible_gain(stage(), trials(60, hill, most=0.2)) > 3 * NOISE


def test_a_loss_gains_by_falling_and_the_estimate_is_the_same_each_time() -> None:
    falling = trials(60, lambda dropout: 1.0 - hill(dropout), most=0.2)
    gain = possible_gain(stage("val_loss"), falling)
    assert gain > 3 * NOISE and possible_gain(stage("val_loss"), falling) == gain


def test_equal_values_leave_nothing_to_gain() -> None:
    equal = trials(20, lambda dropout: 0.5)
    for trial in equal:
        trial.value = 0.5
    assert possible_gain(stage(), equal) == 0.0
