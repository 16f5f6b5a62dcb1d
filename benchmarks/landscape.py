"""What a replay trains: the stored curves of a grid, or a model of curves where a space is too large for a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import cross_val_predict

from benchmarks.replay import Curves, Key
from benchmarks.tables import Table
from models.config import TrainConfig
from models.values import to_flat
from studies.definition import Space

TREES = 50
FOLDS = 5


class Landscape(Curves, Protocol):
    """The curve of every configuration of a table's space."""

    @property
    def table(self) -> Table:
        """The table."""

    @property
    def known(self) -> Sequence[Key]:
        """The configurations that were trained."""

    def key(self, config: TrainConfig) -> Key:
        """The key of a configuration's curve."""


class Grid:
    """Stored curves of every cell; a continuous parameter stands for the nearest value of the grid, by ratio."""

    def __init__(self, table: Table, curves: Sequence[Mapping[str, Any]]) -> None:
        self.table = table
        self._curves = {tuple(curve["params"][name] for name in table.parameters): curve for curve in curves}
        self.known = list(self._curves)
        self._continuous = {
            name: sorted({key[position] for key in self.known})
            for position, name in enumerate(table.parameters)
            if not isinstance(table.space[name], CategoricalDistribution)
        }

    def key(self, config: TrainConfig) -> Key:
        """The cell that is nearest to a configuration."""
        flat = to_flat(config)
        return tuple(self._nearest(name, flat[name]) for name in self.table.parameters)

    def _nearest(self, name: str, value: Any) -> Any:
        values = self._continuous.get(name)
        return value if values is None else min(values, key=lambda known: abs(math.log(known / value)))

    def __getitem__(self, key: Key) -> Sequence[float]:
        curve: Sequence[float] = self._curves[key]["val_accuracy"]
        return curve


class Surrogate:
    """A model of curves, fitted to random configurations (extremely randomised trees; Geurts et al. 2006).

    Replays on a model of a table are those of Eggensperger et al. 2015, "Efficient Benchmarking of Hyperparameter
    Optimizers via Surrogates".
    """

    def __init__(self, table: Table, curves: Sequence[Mapping[str, Any]]) -> None:
        self.table = table
        self.known = [tuple(curve["params"][name] for name in table.parameters) for curve in curves]
        self._columns = _columns(table.space, table.parameters)
        self._inputs = np.array([self._encoded(key) for key in self.known])
        self._outputs = np.array([curve["val_accuracy"] for curve in curves])
        self._model = _new_model().fit(self._inputs, self._outputs)
        self._predicted: dict[Key, Sequence[float]] = {}

    def key(self, config: TrainConfig) -> Key:
        """The configuration's own values, since the model has a curve for each."""
        flat = to_flat(config)
        return tuple(flat[name] for name in self.table.parameters)

    def __getitem__(self, key: Key) -> Sequence[float]:
        if key not in self._predicted:
            self._predicted[key] = self._model.predict([self._encoded(key)])[0].tolist()
        return self._predicted[key]

    def error(self) -> dict[str, float]:
        """How well the model predicts the last epoch of configurations that it was not fitted to."""
        predicted = cross_val_predict(_new_model(), self._inputs, self._outputs, cv=FOLDS)[:, -1]
        measured = self._outputs[:, -1]
        return {
            "mean_absolute_error": float(np.abs(predicted - measured).mean()),
            "rank_correlation": float(spearmanr(predicted, measured).statistic),
        }

    def _encoded(self, key: Key) -> list[float]:
        return [column(value) for value, columns in zip(key, self._columns, strict=True) for column in columns]


def _new_model() -> ExtraTreesRegressor:
    return ExtraTreesRegressor(TREES, random_state=0)


def _columns(space: Space, parameters: Sequence[str]) -> list[list[Any]]:
    """For each parameter, the functions that turn its value into numbers."""
    return [_encoders(space[name]) for name in parameters]  # type: ignore[arg-type]


def _encoders(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        if all(isinstance(value, int | float) for value in distribution.choices):
            return [float]
        return [lambda value, known=known: float(value == known) for known in distribution.choices]
    return [math.log]
