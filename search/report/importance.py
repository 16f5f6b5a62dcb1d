"""Importance of parameters: shares of the variance by fANOVA, and signed correlations, each with an interval.

Both use complete trials only. Pruned trials were stopped at different epochs, so their values are not comparable.
Leaving them out makes effects smaller rather than larger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
import pandas as pd
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import stats

from search.report.spaces import Parameter, encode, parameters_of

MIN_TRIALS = 8
"""Complete trials that both figures need at least."""
TRIALS_PER_PARAMETER = 2
"""Complete trials that both figures need for each parameter: with fewer, a forest explains noise."""
MIN_CORRELATED = 4
"""Complete trials that the interval of a correlation needs."""
CONFIDENCE = 0.95
RESAMPLES = 20
RESAMPLE_TREES = 8
MAX_TRIALS = 200
"""The most complete trials that the shares are estimated from; of more, as many are drawn at random. The time of fANOVA
grows with the square of their number: 40 s of one core for 1,000 trials with 8 parameters."""
MAX_RESAMPLED_TRIALS = 100
"""Largest size of a bootstrap resample. Smaller resamples make the interval wider, never narrower."""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Pearson's correlation of one numeric column with the metric."""

    column: str
    """Name of the column: the parameter, its `log10(...)`, or one of its choices such as `activation=gelu`."""
    value: float
    interval: tuple[float, float]
    """95 % confidence interval, by Fisher's z transformation."""
    trials: int
    """Number of complete trials that have the parameter."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """A parameter's share of the metric's variance, and the correlations that show its direction."""

    parameter: str
    share: float | None
    """Share of the metric's variance among complete trials; all shares add up to 1. None for a parameter that some
    trials do not have."""
    interval: tuple[float, float] | None
    """5th to 95th percentile of `share` over bootstrap resamples of the trials."""
    correlations: tuple[Correlation, ...]


RankParameters = Callable[[Sequence[FrozenTrial]], list[Importance] | None]
"""What `rank_parameters` does; the live page calls it less often and does not wait for it: None until it is ready."""


def trials_needed(parameters: int) -> int:
    """Number of complete trials from which the importance of that many parameters is estimated."""
    return max(MIN_TRIALS, TRIALS_PER_PARAMETER * parameters)


def has_enough(trials: Sequence[FrozenTrial]) -> bool:
    """Whether enough of these trials are complete, with different values, for an estimate of importance."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    needed = trials_needed(len(parameters_of(complete)))
    return len(complete) >= needed and len({trial.value for trial in complete}) > 1


def rank_parameters(trials: Sequence[FrozenTrial]) -> list[Importance]:
    """Parameters of these trials, most important first; empty with fewer complete trials than `trials_needed`.

    Source: Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance", as Optuna evaluates it.
    """
    if not has_enough(trials):
        return []
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    parameters = parameters_of(complete)
    shared = [parameter for parameter in parameters if all(parameter.name in trial.params for trial in complete)]
    sample = _sample(complete)
    shares = _shares(sample, shared)
    intervals = _bootstrap(sample, shared)
    ranked = [
        Importance(
            parameter=parameter.name,
            share=shares.get(parameter.name),
            interval=intervals.get(parameter.name),
            correlations=tuple(correlate(complete, parameter)),
        )
        for parameter in parameters
    ]
    return sorted(ranked, key=lambda entry: -1.0 if entry.share is None else entry.share, reverse=True)


def _sample(complete: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
    if len(complete) <= MAX_TRIALS:
        return complete
    chosen = np.random.default_rng(0).choice(len(complete), MAX_TRIALS, replace=False)
    return [complete[index] for index in sorted(chosen)]


def correlate(complete: Sequence[FrozenTrial], parameter: Parameter) -> list[Correlation]:
    """Correlations of a parameter's columns with the metric over the trials that have it, without constant columns."""
    having = [trial for trial in complete if parameter.name in trial.params]
    if len(having) < MIN_CORRELATED:
        return []
    metric = pd.Series([trial.value for trial in having], dtype=float)
    values = pd.Series([trial.params[parameter.name] for trial in having], dtype=object)
    columns = [(name, column) for name, column in encode(parameter, values).items() if column.nunique() > 1]
    return [_pearson(name, column, metric) for name, column in columns] if metric.nunique() > 1 else []


def _pearson(name: str, column: pd.Series, metric: pd.Series) -> Correlation:
    found = stats.pearsonr(column, metric)
    low, high = found.confidence_interval(CONFIDENCE)
    return Correlation(
        column=name, value=float(found.statistic), interval=(float(low), float(high)), trials=len(metric)
    )


def _shares(
    complete: Sequence[FrozenTrial], parameters: Sequence[Parameter], evaluator: FanovaImportanceEvaluator | None = None
) -> Mapping[str, float]:
    if not parameters:
        return {}
    study = optuna.create_study()
    study.add_trials([_restated(trial, parameters) for trial in complete])
    shares: Mapping[str, float] = get_param_importances(study, evaluator=evaluator or FanovaImportanceEvaluator(seed=0))
    return shares


def _restated(trial: FrozenTrial, parameters: Sequence[Parameter]) -> FrozenTrial:
    """A copy of the trial with one range for all trials: Optuna leaves out parameters whose ranges differ."""
    return create_trial(
        value=trial.value,
        params={parameter.name: trial.params[parameter.name] for parameter in parameters},
        distributions={parameter.name: parameter.distribution for parameter in parameters},
    )


def _bootstrap(complete: Sequence[FrozenTrial], parameters: Sequence[Parameter]) -> dict[str, tuple[float, float]]:
    random = np.random.default_rng(0)
    size = min(len(complete), MAX_RESAMPLED_TRIALS)
    resampled = []
    for seed in range(RESAMPLES):
        drawn = [complete[index] for index in random.integers(0, len(complete), size)]
        if len({trial.value for trial in drawn}) > 1:
            evaluator = FanovaImportanceEvaluator(n_trees=RESAMPLE_TREES, seed=seed)
            resampled.append(_shares(drawn, parameters, evaluator))
    frame = pd.DataFrame(resampled)
    low, high = frame.quantile(0.05), frame.quantile(0.95)
    return {str(name): (float(low[name]), float(high[name])) for name in frame.columns}
