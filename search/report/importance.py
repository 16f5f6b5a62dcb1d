"""Importance of parameters: shares of the variance by fANOVA, and signed correlations, each with an interval.

Both use complete trials only. Pruned trials were stopped at different epochs, so their values are not comparable.
Leaving them out makes effects smaller rather than larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from search.report.fanova import Array, Columns, explained_shares, to_columns
from search.report.spaces import Parameter, encode, parameters_of

MIN_TRIALS = 8
"""Complete trials that both figures need at least."""
TRIALS_PER_PARAMETER = 2
"""Complete trials that both figures need for each parameter: with fewer, a forest explains noise."""
MIN_CORRELATED = 4
"""Complete trials that the interval of a correlation needs."""
CONFIDENCE = 0.95
TREES = 64
RESAMPLES = 20
RESAMPLE_TREES = 8
MAX_TRIALS = 200
"""The most complete trials that the shares are estimated from; of more, as many are drawn at random."""
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
    trials do not have, and for every parameter if none explains a difference."""
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
    columns, metric_N = to_columns(sample, shared), np.array([trial.value for trial in sample], dtype=float)
    explained = explained_shares(columns, metric_N, trees=TREES, seed=0)
    shares = dict.fromkeys((parameter.name for parameter in shared), 0.0) | explained if explained else {}
    intervals = _bootstrap(columns, metric_N) if shares else {}
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
    """The trials that the shares are estimated from."""
    finite = _finite(complete)
    if len(finite) <= MAX_TRIALS:
        return finite
    chosen = np.random.default_rng(0).choice(len(finite), MAX_TRIALS, replace=False)
    return [finite[index] for index in sorted(chosen)]


def _finite(complete: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials whose metric is finite: neither a forest nor a correlation can use an infinite loss."""
    return [trial for trial in complete if trial.value is not None and math.isfinite(trial.value)]


def correlate(complete: Sequence[FrozenTrial], parameter: Parameter) -> list[Correlation]:
    """Correlations of a parameter's columns with the metric over the trials that have it, without constant columns."""
    having = [trial for trial in _finite(complete) if parameter.name in trial.params]
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


def _bootstrap(columns: Columns, metric_N: Array) -> dict[str, tuple[float, float]]:
    random = np.random.default_rng(0)
    size = min(len(metric_N), MAX_RESAMPLED_TRIALS)
    resampled = []
    for seed in range(RESAMPLES):
        drawn = random.integers(0, len(metric_N), size)
        if np.ptp(metric_N[drawn]) > 0:
            resampled.append(explained_shares(columns.rows(drawn), metric_N[drawn], trees=RESAMPLE_TREES, seed=seed))
    frame = pd.DataFrame(resampled)
    low, high = frame.quantile(0.05), frame.quantile(0.95)
    return {str(name): (float(low[name]), float(high[name])) for name in frame.columns}
