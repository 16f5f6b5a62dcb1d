"""Main effects of fANOVA, compared with Optuna's."""

from __future__ import annotations

import random

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from search.report.fanova import explained_shares, to_columns
from search.report.importance import rank_parameters
from search.report.spaces import parameters_of

SPACE: dict[str, BaseDistribution] = {
    "scheduler": CategoricalDistribution(["constant", "cosine", "step", "one_cycle"]),
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "crop_padding": IntDistribution(0, 4),
    "batch_norm": CategoricalDistribution([True, False]),
    "fixed": CategoricalDistribution(["only"]),
    "dropout": FloatDistribution(0.0, 0.5),
}


def random_trials(count: int, *, seed: int) -> list[FrozenTrial]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    noise = random.Random(seed)
    trials = []
    for _ in range(count):
        params = study.ask(SPACE).params
        value = params["dropout"] + (params["scheduler"] == "step") * 0.2 + noise.gauss(0.0, 0.05)
        trials.append(create_trial(value=value, params=params, distributions=SPACE))
    return trials


@pytest.mark.parametrize("seed", [0, 1])
def test_the_shares_are_those_of_optuna(seed: int) -> None:
    trials = random_trials(60, seed=seed)
    study = optuna.create_study()
    study.add_trials(trials)
    expected = get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=8, seed=seed))
    columns = to_columns(trials, parameters_of(trials))
    found = explained_shares(columns, np.array([trial.value for trial in trials]), trees=8, seed=seed)
    assert expected.pop("fixed") == 0.0
    assert found == pytest.approx(expected, abs=1e-9)


def test_parameters_that_explain_no_difference_have_no_share() -> None:
    trials = random_trials(1, seed=0) * 30
    for number, trial in enumerate(trials):
        trials[number] = create_trial(value=float(number), params=trial.params, distributions=SPACE)
    assert {(entry.share, entry.interval) for entry in rank_parameters(trials)} == {(None, None)}


def test_an_infinite_loss_has_no_part_in_the_shares() -> None:
    trials = random_trials(30, seed=0)
    diverged = create_trial(value=float("inf"), params=trials[0].params, distributions=SPACE)
    shares = {entry.parameter: entry.share for entry in rank_parameters(trials)}
    assert {entry.parameter: entry.share for entry in rank_parameters([*trials, diverged])} == shares
