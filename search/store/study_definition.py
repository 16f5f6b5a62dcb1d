"""The definition of a study, as its database row keeps it: compared when the study's command runs again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from search.store.warm_start_record import WarmStart
from studies.definition import ABLATION_STAGE, CONFIRM_STAGE, Ablation, Confirm


@dataclass(frozen=True, kw_only=True)
class StageDefinition:
    """A search stage as the study defines it."""

    name: str
    trials: int
    epochs: int
    bases: int = 1
    """Number of base configurations from the stage before."""
    extends: bool = False
    """Whether the stage also searches what the stage before searched."""
    sampler: str = "tpe"
    pruner: str = "median"
    values: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the configuration that the stage sets."""
    against: str | None = None
    """Name of the cost that the stage minimises as a second aim; None for a single aim."""
    probe_images: int = 0
    """In a probe stage, the most training images that pass each backbone; 0 in other stages."""
    tries: tuple[Mapping[str, Any], ...] = ()
    """Hand-picked parameters of the stage's first trials."""
    early_end: bool = False
    """Whether the stage ends when its possible gain lies below the noise between seeds."""
    space: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The pinned parameters around the start configuration, by name."""

    @classmethod
    def from_json(cls, name: str, stored: Mapping[str, Any]) -> StageDefinition:
        """Read a stored object; keys that an older version did not write get their defaults."""
        return cls(**{**_known(cls, stored), "name": name})


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """The settings of a study when its first command pinned it."""

    description: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Flat start configuration: a value for each field."""
    metric: str = "val_accuracy"
    """Name of the metric that the study optimises."""
    seed: int = 0
    stages: tuple[StageDefinition, ...] = ()
    """The search stages in order; the confirmation or ablation follows."""
    ending: Confirm | Ablation = field(default_factory=Confirm)
    """The last stage, which names the champion."""
    warm_start: WarmStart | None = None
    """The trials that the first stage takes over from an earlier study; None without one."""

    def to_json(self) -> dict[str, Any]:
        """The object that the database row holds, with lists instead of tuples."""
        stages = {f"{index}-{stage.name}": _without_name(stage) for index, stage in enumerate(self.stages, start=1)}
        stored = {
            "description": self.description,
            "config": dict(self.config),
            "metric": self.metric,
            "seed": self.seed,
            "stages": stages,
            self.ending.name: asdict(self.ending),
        }
        if self.warm_start is not None:
            stored["warm_start"] = self.warm_start.to_json()
        plain: dict[str, Any] = _plain(stored)
        return plain

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> StudyDefinition:
        """Read a stored object; keys that an older version did not write get their defaults."""
        stages = (StageDefinition.from_json(key.split("-", 1)[1], stage) for key, stage in stored["stages"].items())
        warm = stored.get("warm_start")
        return cls(
            description=stored["description"],
            config=stored["config"],
            metric=stored["metric"],
            seed=stored["seed"],
            stages=tuple(stages),
            ending=_ending(stored),
            warm_start=None if warm is None else WarmStart.from_json(warm),
        )


def _ending(stored: Mapping[str, Any]) -> Confirm | Ablation:
    if ABLATION_STAGE in stored:
        return Ablation(**_known(Ablation, stored[ABLATION_STAGE]))
    return Confirm(**_known(Confirm, stored[CONFIRM_STAGE]))


def _known(kind: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored values of a dataclass's fields."""
    return {key: stored[key] for key in kind.__dataclass_fields__ if key in stored}


def _without_name(stage: StageDefinition) -> dict[str, Any]:
    return {key: value for key, value in asdict(stage).items() if key != "name"}


def _plain(value: Any) -> Any:
    """The value as JSON would return it, with lists instead of tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
