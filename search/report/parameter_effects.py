"""The effect of each parameter with all others held equal, from a linear model of the complete trials.

Plain averages would mislead: the sampler combines good values of one parameter with good values of the others. Each
parameter enters the model with its levels; continuous ones are divided into bands, so that an optimum in the middle is
visible. An F-test decides whether a parameter has an effect, with Holm's correction for testing all parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from search.report.spaces import levels, parameters_of

MIN_SPARE_TRIALS = 6
"""Complete trials beyond the number of coefficients that an estimate of the noise needs."""
MIN_LEVEL_TRIALS = 3
"""Complete trials that a level needs before it is compared with another level."""
CONFIDENCE = 0.95
Matrix = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class ParameterEffect:
    """The difference between a parameter's best and worst level with all other parameters held equal."""

    parameter: str
    better: str
    worse: str
    difference: float
    """Improvement of the metric from the worse level to the better one; positive, also for a loss."""
    interval: tuple[float, float]
    """95 % confidence interval of `difference`, simultaneous for all pairs of levels (Bonferroni)."""
    p_value: float
    """P-value of the F-test that the parameter has no effect, after Holm's correction over all parameters."""
    trials: int
    """Number of complete trials in the model."""


@dataclass(frozen=True, kw_only=True)
class ParameterEffects:
    """The effects of a stage's parameters, as far as its complete trials allow an estimate."""

    found: tuple[ParameterEffect, ...]
    """The effects, smallest p-value first; empty with too few trials."""
    trials: int
    """Number of complete trials."""
    trials_needed: int
    """Number of complete trials that an estimate of the noise needs."""
    inseparable: tuple[str, ...] = ()
    """Parameters whose effect these trials cannot separate from that of others, because they changed together."""

    @property
    def is_enough(self) -> bool:
        """Whether enough trials are complete to estimate the effects."""
        return self.trials >= self.trials_needed


@dataclass(frozen=True)
class _Model:
    """A least-squares fit: the design matrix, its pseudo-inverse, the coefficients, and the residual."""

    design: Matrix
    inverse: Matrix
    coefficients: Matrix
    residual: float
    """Sum of squared residuals."""
    spare: int
    """Degrees of freedom of the residual."""

    def determines(self, contrast: Matrix) -> bool:
        """Whether the trials determine a contrast of coefficients: it lies in the row space of the design."""
        return bool(np.allclose(contrast @ self.inverse @ self.design, contrast, atol=1e-6))


def estimate_parameter_effects(trials: Sequence[FrozenTrial], *, maximize: bool) -> ParameterEffects:
    """ParameterEffects of all parameters that every complete trial has."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    table = _levels(complete)
    needed = 1 + sum(table[name].nunique() - 1 for name in table) + MIN_SPARE_TRIALS
    nothing = ParameterEffects(found=(), trials=len(complete), trials_needed=needed)
    if table.empty or not nothing.is_enough:
        return nothing
    sign = 1.0 if maximize else -1.0
    values = np.array([sign * float(trial.value or 0.0) for trial in complete])
    columns = _columns(table)
    full = _fit(_design(columns, len(complete)), values)
    if full.residual <= 1e-12 * max(1.0, float(np.square(values).sum())):
        return nothing  # Without noise, no test is possible.
    p_values = {}
    for name in columns:
        others = {other: columns[other] for other in columns if other != name}
        p_values[name] = _f_test(full, _fit(_design(others, len(complete)), values))
    found, inseparable = [], []
    for name, p in _holm(p_values).items():
        pair = _best_and_worst(table, columns, name, full)
        if pair is not None and not full.determines(pair.contrast):
            inseparable.append(name)
        elif pair is not None:
            found.append(_effect(pair, name, full, p, len(complete)))
    found.sort(key=lambda effect: (effect.p_value, -effect.difference))
    return replace(nothing, found=tuple(found), inseparable=tuple(inseparable))


def _levels(complete: Sequence[FrozenTrial]) -> pd.DataFrame:
    columns = {}
    for parameter in parameters_of(complete):
        if all(parameter.name in trial.params for trial in complete):
            column = levels(parameter, pd.Series([trial.params[parameter.name] for trial in complete], dtype=object))
            if column.nunique() > 1:
                columns[parameter.name] = column
    return pd.DataFrame(columns)


def _columns(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each parameter, a column of zeros and ones for each of its levels but the first."""
    return {name: pd.get_dummies(table[name], drop_first=True, dtype=float) for name in table}


def _design(columns: Mapping[str, pd.DataFrame], trials: int) -> Matrix:
    """The design matrix: the intercept, and the columns of these parameters."""
    return np.hstack([np.ones((trials, 1)), *(part.to_numpy() for part in columns.values())])


def _fit(matrix: Matrix, values: Matrix) -> _Model:
    inverse = np.linalg.pinv(matrix)
    coefficients = inverse @ values
    residual = float(np.square(values - matrix @ coefficients).sum())
    return _Model(matrix, inverse, coefficients, residual, len(values) - int(np.linalg.matrix_rank(matrix)))


def _f_test(full: _Model, reduced: _Model) -> float:
    """The p-value of the parameter that the reduced model lacks; 1 if the other parameters already determine it."""
    freed = reduced.spare - full.spare
    if freed == 0:
        return 1.0
    ratio = (reduced.residual - full.residual) / freed / (full.residual / full.spare)
    return float(stats.f.sf(ratio, freed, full.spare))


def _holm(p_values: dict[str, float]) -> dict[str, float]:
    adjusted, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        adjusted[name] = largest
    return adjusted


@dataclass(frozen=True)
class _Pair:
    """The best and the worst level of a parameter."""

    better: str
    worse: str
    contrast: Matrix
    """The weight of each coefficient in the difference between the two."""
    pairs: int
    """Number of pairs of levels from which these two were picked."""


def _best_and_worst(table: pd.DataFrame, columns: Mapping[str, pd.DataFrame], name: str, model: _Model) -> _Pair | None:
    """The best and the worst of the levels that have enough trials; None for fewer than two such levels."""
    counts = table[name].value_counts()
    usual = [level for level in counts.index if counts[level] >= MIN_LEVEL_TRIALS]
    if len(usual) < 2:
        return None
    keys = [None, *((other, level) for other, part in columns.items() for level in part.columns)]
    unit = {level: np.array([float(key == (name, level)) for key in keys]) for level in usual}
    effect_of = {level: float(unit[level] @ model.coefficients) for level in usual}
    better, worse = max(usual, key=effect_of.__getitem__), min(usual, key=effect_of.__getitem__)
    return _Pair(str(better), str(worse), unit[better] - unit[worse], len(list(combinations(usual, 2))))


def _effect(pair: _Pair, name: str, model: _Model, p_value: float, trials: int) -> ParameterEffect:
    variance = model.residual / model.spare * float(np.square(pair.contrast @ model.inverse).sum())
    half = float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / pair.pairs, model.spare)) * variance**0.5
    difference = float(pair.contrast @ model.coefficients)
    return ParameterEffect(
        parameter=name, better=pair.better, worse=pair.worse, difference=difference,
        interval=(difference - half, difference + half), p_value=p_value, trials=trials,
    )  # fmt: skip
