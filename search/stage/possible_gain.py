"""How much better the best configuration of a stage could still become, estimated from its complete trials.

A Gaussian process models the values of configurations. Each function drawn from it has its maximum somewhere in the
space; its gain is that maximum minus its value at the best trial so far. The estimate is a high quantile of the gains.
Comparing it with the noise of a value follows Makarova et al. 2022, "Automatic Termination for Hyperparameter
Optimization", which bounds the gain by the model's confidence bounds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from search.stage.points import Points
from search.stage.seeds import derive_seed
from search.store.pinned_stage import PinnedStage

LEAST_TRIALS = 20
"""Complete trials from which a gain is estimated."""
MOST_TRIALS = 200
"""Complete trials that the model is made of at most, the best: its time grows with the cube of their number."""
FLOOR = 0.5
"""Values below this quantile count as the quantile: how bad the bad ones are shows nothing about the best."""
QUANTILE = 0.9
RANDOM_POINTS, NEIGHBOURS = 400, 400
"""Configurations among which a drawn function has its maximum: anywhere, and near the best trials."""
CENTRES = 5
"""The best trials, near which the neighbours lie."""
FUNCTIONS = 128

Floats = NDArray[np.float64]


def possible_gain(stage: PinnedStage, trials: Sequence[FrozenTrial]) -> float:
    """An upper estimate of what the stage can still gain on the best of its complete trials, in the study's metric.

    The same trials give the same estimate.
    """
    sign = 1.0 if stage.maximize else -1.0
    ranked = sorted(trials, key=lambda trial: (-sign * (trial.value or 0.0), trial.number))[:MOST_TRIALS]
    points, random = Points(stage), Random(derive_seed(stage.seed, "gain", len(trials)))
    known = [points.values(trial) for trial in ranked]
    values_N = np.array([sign * (trial.value or 0.0) for trial in ranked])
    floored_N = np.maximum(values_N, np.quantile(values_N, FLOOR))
    if np.ptp(floored_N) == 0:  # Half of the trials are equal to the best: it does not depend on the parameters.
        return 0.0
    model = _fit(_array(points.point(values) for values in known), floored_N)
    candidates = [points.draw(random) for _ in range(RANDOM_POINTS)]
    candidates += [points.neighbour(random.choice(known[:CENTRES]), random) for _ in range(NEIGHBOURS)]
    points_MD = _array(points.point(values) for values in (*known[:CENTRES], *candidates))
    drawn_MF = _draw_functions(model, points_MD, stage.seed)
    return float(np.quantile(drawn_MF.max(axis=0) - drawn_MF[0], QUANTILE))


def _array(points: Any) -> Floats:
    return np.array(list(points), dtype=np.float64)


def _fit(points_ND: Floats, values_N: Floats) -> GaussianProcessRegressor:
    """A Gaussian process with a length for each coordinate, and noise."""
    lengths = np.ones(points_ND.shape[1])
    kernel = ConstantKernel(1.0, (0.1, 10.0)) * Matern(lengths, (0.1, 10.0), nu=2.5) + WhiteKernel(0.1, (1e-3, 1.0))
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # A length at the end of its range.
        return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(points_ND, values_N)


def _draw_functions(model: GaussianProcessRegressor, points_MD: Floats, seed: int) -> Floats:
    """The values of `FUNCTIONS` functions at these points, one column for each, without the noise of a trial."""
    mean_M, covariance_MM = model.predict(points_MD, return_cov=True)
    noise = model.kernel_.k2.noise_level * model._y_train_std**2
    # Not Cholesky's decomposition, which fails where rounding errors have made an eigenvalue negative.
    spread_M, vectors_MM = np.linalg.eigh(covariance_MM - noise * np.eye(len(mean_M)))
    normal_MF = np.random.default_rng(seed).standard_normal((len(mean_M), FUNCTIONS))
    functions_MF: Floats = mean_M[:, None] + vectors_MM @ (np.sqrt(spread_M.clip(0.0))[:, None] * normal_MF)
    return functions_MF
