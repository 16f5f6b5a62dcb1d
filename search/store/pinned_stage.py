"""A pinned stage: all settings that its trials depend on. Workers read them and derive nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from models.config import TrainConfig
from models.values import from_flat, with_values
from search import names
from search.store.early_end import EarlyEnd

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PinnedParameter:
    """One parameter of a space, in a form that JSON can hold."""

    name: str
    distribution: str
    """The distribution as JSON, written by Optuna."""
    when: str | None = None
    """Name of the parameter that this one depends on; None if it always exists."""
    when_values: tuple[Any, ...] = ()
    """Values of the parameter `when` for which this parameter exists."""
    guess: float | None = None
    """The user's guess in the middle of a range on a log scale; None without one."""

    def exists_for(self, values: Mapping[str, Any]) -> bool:
        """Return whether the parameter exists for these values of the parameter that it depends on."""
        return self.when is None or values[self.when] in self.when_values


@dataclass(frozen=True, kw_only=True)
class PinnedStage:
    """The settings of a stage, the same for all workers."""

    name: str
    trials: int
    """Number of trials in the budget. A time budget adds trials while there is time, up to one for each slot."""
    epochs: int
    """Epochs of a trial whose space does not vary them."""
    sampler: str
    pruner: str
    metric: str
    direction: Literal["maximize", "minimize"]
    seed: int
    """Seed of the stage, from which the seeds of samplers and trials are derived."""
    bases: tuple[Values, ...]
    """Base configurations, flat, around which the stage searches."""
    spaces: tuple[tuple[PinnedParameter, ...], ...]
    """The space around each base."""
    queue: tuple[Values, ...]
    """Parameters fixed in advance for each slot; the sampler draws the others."""
    seeds: tuple[int, ...]
    """Training seed of each slot."""
    folds: int = 0
    """Number of folds into which the study divides its training images; 0 for a single validation set."""
    cells: tuple[dict[str, str], ...] = ()
    """In an ablation, the level of each factor for each base; empty in other stages."""
    rungs: tuple[int, ...] = ()
    """Epochs after which trials pause, with the pruner `asha`; see `search.stage.rungs`."""
    earlier: tuple[str, ...] = ()
    """Optuna studies of the stages that this stage extends, in order; see `search.stage.extending`."""
    is_extended: bool = False
    """Whether the next stage extends this one, so that its paused trials may continue while that stage runs."""
    probe_images: int = 0
    """In a probe stage, the most training images that pass each backbone; 0 in other stages."""
    against: str | None = None
    """Name of the trial attribute to minimise as a second aim; None for a single aim."""
    may_end_early: bool = False
    """Whether the stage ends when its possible gain lies below the noise between seeds."""
    early_end: EarlyEnd | None = None
    """Why the stage begins no more trials; None while it does not end early."""

    @property
    def is_final(self) -> bool:
        """Whether this is the study's last stage: fixed configurations on shared seeds, the best mean becomes
        champion.
        """
        return self.name in names.LAST_STAGES

    @property
    def is_probe(self) -> bool:
        """Whether each trial fits a linear classifier to the features of one backbone."""
        return self.probe_images > 0

    @property
    def maximize(self) -> bool:
        """Whether a larger value of the metric is better."""
        return self.direction == "maximize"

    def folds_of(self, slot: int) -> range:
        """The folds that the trial of a slot trains on: all folds, or in the final stage one fold for each run in
        turn.
        """
        if not self.is_final or not self.folds:
            return range(max(1, self.folds))
        fold = slot // len(self.bases) % self.folds
        return range(fold, fold + 1)

    def to_json(self) -> dict[str, Any]:
        """The object that the database row holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PinnedStage:
        """Read a stored object; keys that an older version did not write get their defaults."""
        spaces = tuple(
            tuple(PinnedParameter(**{**entry, "when_values": tuple(entry["when_values"])}) for entry in space)
            for space in stored["spaces"]
        )
        tuples = {key: tuple(stored.get(key, ())) for key in ("bases", "queue", "seeds", "cells", "rungs", "earlier")}
        early = stored.get("early_end")
        early_end = None if early is None else EarlyEnd.from_json(early)
        return cls(**{**stored, **tuples, "spaces": spaces, "early_end": early_end})

    def config(self, params: Mapping[str, Any]) -> TrainConfig:
        """The configuration that a trial's parameters describe."""
        base = from_flat(self.bases[params.get(names.BASE, 0)])
        return with_values(base, {name: value for name, value in params.items() if name != names.BASE})
