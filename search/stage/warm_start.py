"""A warm start: the first stage's first trials are the best configurations of an earlier study, on whatever images.

Only what the new stage searches is taken from them; all else is as the new study says. They take places of the stage's
budget, so that it stays as it was planned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, json_to_distribution

from data.errors import UserError
from models.values import to_flat, with_values
from search import names
from search.stage.bases import best_configs
from search.stage.distributions import holds
from search.stage.pinned import PinnedParameter, PinnedStage, Values
from search.stage.pinning import pin_space
from search.stage.snapshot import stage_trials
from search.store.find import find_study
from search.store.records import StudyRecord, read_stages
from search.store.storage import Storage
from studies.definition import Study

SHARE = 4
"""One trial in so many of the first stage is taken over at most: the others are for what the new images say."""


class _DoesNotFit(Exception):
    """Why a configuration has no place in the new space."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A trial taken over."""

    trial: str
    """Where it comes from: `partA/1-architecture #3`."""
    value: float
    """What it was worth there."""
    parameters: Values
    """In the new space."""
    moved: tuple[str, ...] = ()
    """Parameters whose value lay outside the new range, which begins or ends there now."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What a new study takes from an earlier one."""

    study: str
    taken: tuple[Taken, ...]
    skipped: tuple[str, ...]
    """Better trials than the last one taken that have no place in the new space, and why."""

    def to_json(self) -> dict[str, Any]:
        """As the study's definition keeps it."""
        return {
            **asdict(self),
            "taken": [{**asdict(one), "moved": list(one.moved)} for one in self.taken],
            "skipped": list(self.skipped),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> WarmStart:
        """Read what a study's definition keeps."""
        taken = (Taken(**{**entry, "moved": tuple(entry["moved"])}) for entry in stored.get("taken", ()))
        return cls(study=stored["study"], taken=tuple(taken), skipped=tuple(stored.get("skipped", ())))

    def lines(self) -> list[str]:
        """What people are told."""
        count = len(self.taken)
        first = f"warm start: {count} trial{'s' if count > 1 else ''} of the first stage from {self.study}"
        taken = [f"  {one.trial} ({one.value:.4f}): {_listed(one)}" for one in self.taken]
        return [first, *taken, *(f"  skipped {line}" for line in self.skipped)]


def find_warm_start(storage: Storage, study: Study) -> WarmStart:
    """The best trials of the study that `study.warm_start` names, as far as they have a place in its first stage.

    The last stage's come first: it searched around the best of those before. Raises UserError if there is no such
    study, or none of its trials is of use.
    """
    name, stage = study.warm_start, study.stages[0]
    assert name is not None
    if name == study.name:
        raise UserError(f"--warm-start {name}: a study cannot start from itself; give this one another --name")
    if stage.sampler == "grid":
        raise UserError(f"--warm-start {name}: {study.name}/{stage.name} is a grid and runs all its cells anyway")
    find_study(storage, name)
    base = to_flat(with_values(study.config, {**stage.values, "epochs": stage.epochs}))
    space = pin_space(stage.space_around(study.config))
    taken: list[Taken] = []
    skipped: list[str] = []
    for where, value, values in _best(storage, name):
        if len(taken) == max(1, stage.trials // SHARE):
            break
        try:
            parameters, moved = _placed(space, base, values)
        except _DoesNotFit as error:
            skipped.append(f"{where}: {error}")
            continue
        known = [{name: base[name] for name in parameters}, *(earlier.parameters for earlier in taken)]
        if parameters not in known:  # The start configuration is tried anyway.
            taken.append(Taken(trial=where, value=value, parameters=parameters, moved=moved))
    if not taken:
        reason = skipped[0] if skipped else "none of its trials completed"
        raise UserError(f"--warm-start {name}: nothing in it has a place in {study.name}/{stage.name} ({reason})")
    return WarmStart(study=name, taken=tuple(taken), skipped=tuple(skipped))


def read_warm_start(record: StudyRecord) -> WarmStart | None:
    """The warm start that was found when the study was started; None for a study without one."""
    stored = record.definition.get("warm_start")
    return None if stored is None else WarmStart.from_json(stored)


def warm_parameters(record: StudyRecord) -> list[Values]:
    """The parameters of the trials that the first stage takes over from an earlier study."""
    warm = read_warm_start(record)
    return [taken.parameters for taken in warm.taken] if warm else []


def _best(storage: Storage, study: str) -> Iterator[tuple[str, float, Values]]:
    """Complete trials with value and configuration: last stage first, and of each stage the best of each kind first.

    Kinds as for bases: six rates of one network would leave the rest of the new space to chance.
    """
    for record in reversed(read_stages(storage, study)):
        if record.name == names.CONFIRM_STAGE:
            continue  # The same configurations as in the last stage.
        trials = stage_trials(storage, record)
        maximize = PinnedStage.from_json(record.pinned).direction == "maximize"
        for trial, config in best_configs(trials, len(trials), maximize=maximize):
            assert trial.value is not None
            yield f"{record.optuna_study} #{trial.number}", trial.value, to_flat(config)


def _placed(space: Sequence[PinnedParameter], base: Values, values: Values) -> tuple[Values, tuple[str, ...]]:
    """A configuration's parameters in a space, and which of them had to be moved to the end of their range."""
    parameters: Values = {}
    moved = []
    for parameter in space:
        if parameter.exists_for({**base, **parameters}):
            if parameter.name not in values:
                raise _DoesNotFit(f"it has no {parameter.name}")
            value = values[parameter.name]
            parameters[parameter.name] = _nearest(parameter, value)
            if parameters[parameter.name] != value:
                moved.append(parameter.name)
    return parameters, tuple(moved)


def _nearest(parameter: PinnedParameter, value: Any) -> Any:
    """The value, or the one of the parameter's range that is nearest to it."""
    distribution = json_to_distribution(parameter.distribution)
    if holds(distribution, value):
        return value
    if isinstance(distribution, CategoricalDistribution):
        raise _DoesNotFit(f"{parameter.name} {value} is none of {', '.join(map(str, distribution.choices))}")
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if not isinstance(value, int | float):
        raise _DoesNotFit(f"{parameter.name} {value} is no number")
    inside = min(max(value, distribution.low), distribution.high)
    if distribution.step:
        inside = distribution.low + round((inside - distribution.low) / distribution.step) * distribution.step
    return inside


def _listed(taken: Taken) -> str:
    parts = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in taken.parameters.items()
    )
    moved = f" ({', '.join(taken.moved)} moved into the new range)" if taken.moved else ""
    return ", ".join(parts) + moved
