"""The champion of a study, as its database row keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from search.store.combination_record import CombinationRecord
from search.store.look_result import MeasureScore, SelectiveResult

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class FinalistRecord:
    """A finalist's results over its confirmation runs."""

    finalist: int
    """Position among the configurations that went into the confirmation, from 0."""
    mean: float
    """Mean of the study's metric over the runs."""
    interval: Interval | None
    """95 % confidence interval of the mean; None for a single run."""
    values: tuple[float, ...]
    """The study's metric of each run."""
    config: Mapping[str, Any]
    """Flat configuration: a value for each field."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FinalistRecord:
        """Read a stored object."""
        return cls(**{**stored, "interval": _interval(stored["interval"]), "values": tuple(stored["values"])})


@dataclass(frozen=True, kw_only=True)
class ChampionRecord:
    """The finalist with the best mean, and its version in the model registry."""

    trial: int = 0
    """Number of the confirmation trial whose weights were registered: the run with the best value."""
    finalist: int = 0
    """Position among the configurations that went into the confirmation, from 0."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Flat configuration: a value for each field."""
    cell: Mapping[str, str] | None = None
    """In an ablation, the level of each factor; None after a confirmation."""
    metric: str = "val_accuracy"
    """Name of the study's metric."""
    value: float = 0.0
    """Mean of the study's metric over the runs."""
    value_interval: Interval | None = None
    """95 % confidence interval of `value`; None for a single run."""
    values: tuple[float, ...] = ()
    """The study's metric of each run."""
    val_accuracy: float = 0.0
    """Mean validation accuracy over the runs."""
    val_accuracy_interval: Interval | None = None
    """95 % confidence interval of `val_accuracy`, cut to 0 to 1; None for a single run."""
    val_accuracy_seeds: tuple[float, ...] = ()
    """Validation accuracy of each run."""
    seeds: tuple[int, ...] = ()
    """Training seed of each run."""
    ties: tuple[int, ...] = ()
    """Positions of the finalists from which these seeds do not separate the champion."""
    finalists: tuple[FinalistRecord, ...] = ()
    """All finalists, best mean first."""
    refit_images: int | None = None
    """Number of images on which the registered weights were trained after k folds; None without folds."""
    combination: CombinationRecord | None = None
    """The attempt to combine several runs; None where the study asks for none."""
    searched: Mapping[str, Any] = field(default_factory=dict)
    """The configuration's values for the fields that a stage varied."""
    temperature: float = 1.0
    """The temperature by which the champion's logits are divided."""
    calibration_errors: tuple[MeasureScore, ...] = ()
    """Expected calibration error on validation images, without and with the temperature."""
    selective: tuple[SelectiveResult, ...] = ()
    """The answers to validation images at each threshold of confidence."""
    model_uri: str = ""
    """Address of the registered version in MLflow, such as `models:/partA/1`; empty until it is registered."""

    def to_json(self) -> dict[str, Any]:
        """The object that the database row and `search.run --json` hold."""
        stored = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
        stored["finalists"] = [
            {**asdict(entry), "interval": _listed(entry.interval), "values": list(entry.values)}
            for entry in self.finalists
        ]
        stored["calibration_errors"] = [entry.to_json() for entry in self.calibration_errors]
        stored["selective"] = [asdict(entry) for entry in self.selective]
        if self.refit_images is None:
            del stored["refit_images"]
        if self.combination is None:
            del stored["combination"]
        else:
            stored["combination"] = self.combination.to_json()
        return stored

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ChampionRecord:
        """Read a stored object; keys that an older version did not write get their defaults."""
        known = {key: stored[key] for key in cls.__dataclass_fields__ if key in stored}
        tuples = {key: tuple(stored.get(key, ())) for key in ("values", "val_accuracy_seeds", "seeds", "ties")}
        intervals = {key: _interval(stored.get(key)) for key in ("value_interval", "val_accuracy_interval")}
        finalists = tuple(FinalistRecord.from_json(entry) for entry in stored.get("finalists", ()))
        combination = stored.get("combination")
        nested = {
            "finalists": finalists,
            "calibration_errors": tuple(map(MeasureScore.from_json, stored.get("calibration_errors", ()))),
            "selective": tuple(SelectiveResult(**entry) for entry in stored.get("selective", ())),
            "combination": combination and CombinationRecord.from_json(combination),
        }
        return cls(**{**known, **tuples, **intervals, **nested})


def _interval(stored: Any) -> Interval | None:
    return None if stored is None else (stored[0], stored[1])


def _listed(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
