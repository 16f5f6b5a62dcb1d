"""Main effects of fANOVA: the share of a metric's variance that each parameter explains by itself.

Source: Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance". The shares equal those of
`optuna.importance.FanovaImportanceEvaluator`, which walks down each tree once for each interval of each parameter, in
Python. Here, the leaves of a tree are arrays: for 200 trials with 8 parameters that takes a tenth of the time
(0.19 s instead of 1.82 s).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial
from sklearn.ensemble import RandomForestRegressor

from search.report.spaces import Parameter

MAX_DEPTH = 64
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """The parameters of N trials as C numeric columns; a parameter with K choices has K columns of zeros and ones."""

    values_NC: Array
    bounds_C2: Array
    """The lowest and the highest value that each column can have."""
    of_parameter: Mapping[str, slice]

    def rows(self, rows_M: npt.NDArray[np.int64]) -> Columns:
        """The same columns of some of the trials."""
        return Columns(self.values_NC[rows_M], self.bounds_C2, self.of_parameter)


def to_columns(trials: Sequence[FrozenTrial], parameters: Sequence[Parameter]) -> Columns:
    """The parameters that can vary as columns, in alphabetic order, as Optuna has them; all trials need them all."""
    values: list[Array] = []
    bounds: list[tuple[float, float]] = []
    of_parameter = {}
    for parameter in sorted(parameters, key=lambda parameter: parameter.name):
        distribution = parameter.distribution
        if distribution.single():
            continue
        first = len(bounds)
        drawn_N = np.array([distribution.to_internal_repr(trial.params[parameter.name]) for trial in trials])
        if isinstance(distribution, CategoricalDistribution):
            options = np.arange(len(distribution.choices))
            values.append((drawn_N[:, None] == options).astype(float))
            bounds += [(0.0, 1.0)] * len(options)
        else:
            values.append(drawn_N[:, None])
            bounds.append((distribution.low, distribution.high))  # type: ignore[attr-defined]
        of_parameter[parameter.name] = slice(first, len(bounds))
    values_NC = np.hstack(values) if values else np.empty((len(trials), 0))
    return Columns(values_NC, np.array(bounds, dtype=float).reshape(-1, 2), of_parameter)


def explained_shares(columns: Columns, metric_N: Array, *, trees: int, seed: int) -> dict[str, float]:
    """Each parameter's share of what all of them explain, by a random forest; the shares add up to 1.

    Empty if no tree of the forest finds a difference between any two configurations.
    """
    if not columns.of_parameter or metric_N.size == 0:
        return {}
    forest = RandomForestRegressor(n_estimators=trees, max_depth=MAX_DEPTH, random_state=seed)
    forest.fit(columns.values_NC, metric_N)
    found = [_explained(tree.tree_, columns) for tree in forest.estimators_]
    explained_P = np.mean([shares_P for shares_P in found if shares_P is not None] or np.zeros((1, 1)), axis=0)
    if explained_P.sum() == 0:
        return {}
    return dict(zip(columns.of_parameter, (explained_P / explained_P.sum()).tolist(), strict=True))


def _explained(tree: Any, columns: Columns) -> Array | None:
    """The share of a tree's variance that each parameter explains by itself; None for a tree without variance.

    All configurations within the bounds are equally likely.
    """
    low_LC, high_LC, value_L = _leaves(tree, columns.bounds_C2)
    width_LC = high_LC - low_LC
    likelihood_L = width_LC.prod(axis=1)
    value_L = value_L - np.average(value_L, weights=likelihood_L)
    variance = float(likelihood_L @ np.square(value_L))
    if variance <= 0:
        return None
    explained = []
    for own in columns.of_parameter.values():
        others_L = np.delete(width_LC, own, axis=1).prod(axis=1)
        explained.append(_marginal_variance(low_LC[:, own], high_LC[:, own], others_L * value_L))
    return np.array(explained) / variance


def _leaves(tree: Any, bounds_C2: Array) -> tuple[Array, Array, Array]:
    """The lower and upper bounds of each leaf's box, scaled so that the whole space is from 0 to 1, and its value."""
    low_TC = np.zeros((tree.node_count, len(bounds_C2)))
    high_TC = np.ones_like(low_TC)
    feature_T, left_T, right_T = tree.feature, tree.children_left, tree.children_right
    inner = np.flatnonzero(feature_T >= 0)
    start_I, end_I = bounds_C2[feature_T[inner]].T
    threshold_I = (tree.threshold[inner] - start_I) / (end_I - start_I)
    for node, threshold in zip(inner.tolist(), threshold_I.tolist(), strict=True):  # A node comes before its children.
        left, right, feature = left_T[node], right_T[node], feature_T[node]
        low_TC[[left, right]], high_TC[[left, right]] = low_TC[node], high_TC[node]
        high_TC[left, feature] = low_TC[right, feature] = threshold
    leaves = feature_T < 0
    return low_TC[leaves], high_TC[leaves], tree.value[leaves].reshape(-1)


def _marginal_variance(low_LK: Array, high_LK: Array, weight_L: Array) -> float:
    """The variance of the mean prediction at a point of K columns; a leaf's weight is its part in that mean.

    The weights of all leaves add up to a mean of 0 over all points.
    """
    if low_LK.shape[1] == 1:  # The mean changes only where a leaf begins or ends.
        edges, at = np.unique(np.concatenate([low_LK[:, 0], high_LK[:, 0]]), return_inverse=True)
        changes = np.bincount(at, weights=np.concatenate([weight_L, -weight_L]))
        return float(np.diff(edges) @ np.square(np.cumsum(changes)[:-1]))
    boxes_U, at = np.unique(np.hstack([low_LK, high_LK]), axis=0, return_inverse=True)
    weight_U = np.bincount(at.reshape(-1), weights=weight_L)
    low_UK, high_UK = np.hsplit(boxes_U, 2)
    shared_UUK = np.minimum(high_UK[:, None], high_UK) - np.maximum(low_UK[:, None], low_UK)
    return float(weight_U @ shared_UUK.clip(min=0.0).prod(axis=2) @ weight_U)
