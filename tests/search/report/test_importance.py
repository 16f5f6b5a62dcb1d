from __future__ import annotations

import math
import random

import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.report.importance import MAX_TRIALS, MIN_TRIALS, correlate, rank_parameters
from search.report.pooling import STAGE, pool_trials
from search.report.spaces import parameters_of
from tests.search.report.conftest import MadeStudy


def test_shares_are_those_of_optuna_on_the_same_trials(made: MadeStudy) -> None:
    stage = made.facts().stages[0]
    optuna_study = made.storage.load_study(stage.record.optuna_study)
    expected = get_param_importances(optuna_study, evaluator=FanovaImportanceEvaluator(seed=0))
    ranked = rank_parameters(stage.optuna_trials)
    assert {entry.parameter: entry.share for entry in ranked} == pytest.approx(expected)
    assert [entry.parameter for entry in ranked] == list(expected)


def test_correlations_are_those_of_pandas_on_the_same_trials(made: MadeStudy) -> None:
    stage = made.facts().stages[0]
    params, value = stage.params.loc[stage.complete.index], stage.complete["value"]
    encoded = pd.get_dummies(params["activation"], prefix="activation", prefix_sep="=", dtype=float)
    encoded["batch_norm=yes"] = params["batch_norm"].astype(float)
    encoded["filters"] = params["filters"].astype(float)
    encoded["log10(learning_rate)"] = params["learning_rate"].astype(float).map(math.log10)
    found = {
        column.column: column.value for entry in rank_parameters(stage.optuna_trials) for column in entry.correlations
    }
    for name, expected in encoded.corrwith(value).items():
        assert found[str(name)] == pytest.approx(expected), name


def test_the_important_parameter_comes_first_with_a_separate_interval(made: MadeStudy) -> None:
    first, *others = rank_parameters(made.facts().stages[0].optuna_trials)
    assert first.parameter == "activation"
    filters = next(entry for entry in others if entry.parameter == "filters")
    assert first.interval is not None and filters.interval is not None
    assert first.interval[0] > filters.interval[1]


def test_ranges_that_differ_between_bases_are_one_parameter(made: MadeStudy) -> None:
    stage = made.facts().stages[1]
    optuna_study = made.storage.load_study(stage.record.optuna_study)
    assert "learning_rate" not in get_param_importances(optuna_study, evaluator=FanovaImportanceEvaluator(seed=0))
    assert {"learning_rate", "weight_decay", "base"} == {e.parameter for e in rank_parameters(stage.optuna_trials)}


def trial_of(value: float, **params: str | float) -> FrozenTrial:
    space = {
        "scheduler": CategoricalDistribution(["step", "cosine"]),
        "step_gamma": FloatDistribution(0.0, 1.0),
        "dropout": FloatDistribution(0.0, 0.5),
    }
    return create_trial(value=value, params=params, distributions={name: space[name] for name in params})


def test_a_conditional_parameter_has_a_correlation_but_no_share() -> None:
    trials = []
    for index in range(12):
        own = {"step_gamma": index / 12} if index % 2 else {}
        scheduler = "step" if index % 2 else "cosine"
        trials.append(trial_of(0.5 + index / 100, scheduler=scheduler, dropout=(index * 5 % 12) / 24, **own))
    gamma = next(entry for entry in rank_parameters(trials) if entry.parameter == "step_gamma")
    assert gamma.share is None
    assert gamma.correlations[0].value == pytest.approx(1.0) and gamma.correlations[0].trials == 6


def test_too_few_or_equal_results_rank_nothing() -> None:
    few = [trial_of(0.1 * index, dropout=0.1 * (index % 3)) for index in range(MIN_TRIALS - 1)]
    assert rank_parameters(few) == []
    assert rank_parameters([trial_of(0.9, dropout=0.01 * index) for index in range(20)]) == []


def test_pruned_trials_do_not_influence_importance() -> None:
    trials = [trial_of(index / 10, dropout=index / 40) for index in range(10)]
    cut = create_trial(
        state=TrialState.PRUNED, params={"dropout": 0.5}, distributions={"dropout": FloatDistribution(0.0, 0.5)}
    )
    assert rank_parameters([*trials, cut]) == rank_parameters(trials)


def test_the_interval_of_a_correlation_uses_fisher_s_transformation() -> None:
    trials = [trial_of(value, dropout=x) for x, value in [(0.1, 1), (0.2, 3), (0.3, 2), (0.4, 5), (0.5, 4)]]
    [column] = correlate(trials, parameters_of(trials)[0])
    half = 1.959964 / (len(trials) - 3) ** 0.5
    assert column.value == pytest.approx(0.8)
    assert column.interval == pytest.approx([math.tanh(math.atanh(0.8) + sign * half) for sign in (-1, 1)])


def test_pooled_trials_hold_every_stage_s_searched_fields(made: MadeStudy) -> None:
    facts = made.facts()
    trials = pool_trials(facts)
    assert len(trials) == sum(len(stage.complete) for stage in facts.stages)
    assert set(trials[0].params) == {*facts.searched, STAGE}
    assert all(trial.params["activation"] in ("relu", "gelu") for trial in trials)
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)  # Refuses a value outside its distribution.


def test_of_many_trials_a_sample_gives_the_shares_and_all_of_them_the_correlations() -> None:
    noise = random.Random(0)
    many = []
    for _ in range(MAX_TRIALS + 100):
        dropout, scheduler = noise.random() / 2, noise.choice(["step", "cosine"])
        many.append(trial_of(dropout + 0.01 * noise.random(), dropout=dropout, scheduler=scheduler))
    first, second = rank_parameters(many)
    assert (first.parameter, second.parameter) == ("dropout", "scheduler")
    assert first.share is not None and first.share > 0.9
    assert first.correlations[0].trials == len(many)
