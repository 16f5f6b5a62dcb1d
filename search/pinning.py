"""A stage pinned: all that its trials depend on, resolved once by the supervisor before any worker sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)

from data.errors import UserError
from models.config import TrainConfig
from models.values import from_flat, to_flat, with_values
from search import names
from search.feasibility import DRAWS, Feasible, anything
from search.seeds import derive_seed
from studies.definition import Ablation, Confirm, Space, Stage, Study, When

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PinnedParameter:
    """One parameter of a space, as JSON keeps it."""

    name: str
    distribution: str
    """As Optuna writes it."""
    when: str | None = None
    """The parameter this one depends on, and the values for which it exists."""
    when_values: tuple[Any, ...] = ()

    def exists_for(self, values: Mapping[str, Any]) -> bool:
        return self.when is None or values[self.when] in self.when_values


@dataclass(frozen=True, kw_only=True)
class PinnedStage:
    """What a worker needs to run a stage's trials; the same for all of them."""

    name: str
    trials: int
    epochs: int
    """Epochs of a trial whose space does not vary them."""
    sampler: str
    pruner: str
    metric: str
    direction: Literal["maximize", "minimize"]
    seed: int
    """Of the stage: samplers and trials derive theirs from it."""
    bases: tuple[Values, ...]
    """Flat configurations that the stage searches around."""
    spaces: tuple[tuple[PinnedParameter, ...], ...]
    """One per base."""
    queue: tuple[Values, ...]
    """Parameters fixed in advance for each slot; an empty one is left to the sampler."""
    seeds: tuple[int, ...]
    """Of each slot's training."""
    folds: int = 0
    """0: one validation set; otherwise the folds that the study divides its training images into."""
    cells: tuple[dict[str, str], ...] = ()
    """Of an ablation: the level of each factor, for each base."""
    against: str | None = None
    """The trial attribute to be kept small beside the metric."""

    @property
    def is_confirmation(self) -> bool:
        """Whether the study ends with it: fixed configurations on shared seeds, of which the best mean is champion."""
        return self.name in names.LAST_STAGES

    def folds_of(self, slot: int) -> range:
        """The folds that a trial trains on: all of them, but each run of a finalist on one, in turn."""
        if not self.is_confirmation or not self.folds:
            return range(max(1, self.folds))
        fold = slot // len(self.bases) % self.folds
        return range(fold, fold + 1)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PinnedStage:
        spaces = tuple(
            tuple(PinnedParameter(**{**entry, "when_values": tuple(entry["when_values"])}) for entry in space)
            for space in stored["spaces"]
        )
        tuples = {key: tuple(stored.get(key, ())) for key in ("bases", "queue", "seeds", "cells")}
        return cls(**{**stored, **tuples, "spaces": spaces})

    def config(self, params: Mapping[str, Any]) -> TrainConfig:
        """The configuration that a trial's parameters stand for."""
        base = from_flat(self.bases[params.get(names.BASE, 0)])
        return with_values(base, {name: value for name, value in params.items() if name != names.BASE})

    def suggest(self, trial: optuna.Trial) -> TrainConfig:
        """Draw a trial's parameters, conditions respected, and make its configuration."""
        index = trial.suggest_categorical(names.BASE, range(len(self.bases))) if len(self.bases) > 1 else 0
        values = dict(self.bases[index])
        for parameter in self.spaces[index]:
            if parameter.exists_for(values):
                values[parameter.name] = _suggest(trial, parameter.name, json_to_distribution(parameter.distribution))
        return self.config(trial.params)


def pin_search(
    study: Study,
    position: int,
    stage: Stage,
    bases: Sequence[TrainConfig],
    first: Sequence[Values] = (),
    *,
    is_feasible: Feasible = anything,
) -> PinnedStage:
    """Resolve a stage around its bases. A grid has exactly as many trials as cells, whatever `stage.trials` says.

    `first` are parameters of trials that come right after the bases' own, within the stage's budget. Where random
    search is drawn here, what is not feasible is drawn again.
    """
    bases = [with_values(base, {**stage.values, "epochs": stage.epochs}) for base in bases]
    spaces = tuple(pin_space(stage.space_around(base)) for base in bases)
    _check_compatible(f"{study.name}/{stage.name}", spaces)
    seed = derive_seed(study.seed, f"{position + 1}-{stage.name}")
    if stage.sampler == "grid":
        queue = _grid(spaces, [to_flat(base) for base in bases])
    else:
        queue = [
            _inside(space, to_flat(base), index, len(bases))
            for index, (space, base) in enumerate(zip(spaces, bases, strict=True))
        ]
        if any(spaces):  # Without anything to vary, each base is one trial.
            queue = (queue + [*first] + [{}] * stage.trials)[: stage.trials]
    pinned = PinnedStage(
        name=stage.name,
        trials=len(queue),
        epochs=stage.epochs,
        sampler=stage.sampler,
        pruner=stage.pruner,
        metric=study.metric,
        direction=study.direction,
        seed=seed,
        bases=tuple(to_flat(base) for base in bases),
        spaces=spaces,
        queue=tuple(queue),
        seeds=tuple(derive_seed(seed, "trial", slot) for slot in range(len(queue))),
        folds=study.folds,
        against=stage.against,
    )
    return _draw_all(pinned, is_feasible) if stage.sampler == "random" else pinned


def pin_confirmation(study: Study, confirm: Confirm, finalists: Sequence[TrainConfig]) -> PinnedStage:
    """Every finalist on the same fresh seeds, so that their results can be compared in pairs."""
    extra = dict(confirm.values) if confirm.epochs is None else {**confirm.values, "epochs": confirm.epochs}
    return _pin_last(study, confirm, [with_values(finalist, extra) for finalist in finalists])


def pin_ablation(study: Study, ablation: Ablation, base: TrainConfig) -> PinnedStage:
    """Every cell on the same seeds, so that each seed is a block in which all cells can be compared."""
    cells = ablation.cells()
    configs = [with_values(base, ablation.values(cell)) for cell in cells]
    return replace(_pin_last(study, ablation, configs), cells=tuple(cells))


def _pin_last(study: Study, ending: Confirm | Ablation, configs: Sequence[TrainConfig]) -> PinnedStage:
    seed = derive_seed(study.seed, ending.name)
    # Seed by seed, not configuration by configuration: if time runs out, all have been trained equally often.
    runs = [(index, repeat) for repeat in range(ending.seeds) for index in range(len(configs))]
    return PinnedStage(
        name=ending.name,
        trials=len(runs),
        epochs=max(config.epochs for config in configs),
        sampler="random",
        pruner="none",
        metric=study.metric,
        direction=study.direction,
        seed=seed,
        bases=tuple(to_flat(config) for config in configs),
        spaces=tuple(() for _ in configs),
        queue=tuple({names.BASE: index} if len(configs) > 1 else {} for index, _ in runs),
        seeds=tuple(derive_seed(seed, "trial", repeat) for _, repeat in runs),
        folds=study.folds,
    )


def pin_space(space: Space) -> tuple[PinnedParameter, ...]:
    """A space as data, in the order in which its parameters are drawn."""
    pinned = []
    for name, entry in space.items():
        if isinstance(entry, When):
            pinned.append(
                PinnedParameter(
                    name=name,
                    distribution=distribution_to_json(entry.distribution),
                    when=entry.parameter,
                    when_values=tuple(entry.values),
                )
            )
        else:
            pinned.append(PinnedParameter(name=name, distribution=distribution_to_json(entry)))
    # A parameter is drawn after the one that its condition looks at.
    return tuple(sorted(pinned, key=lambda parameter: parameter.when is not None))


def _inside(space: Sequence[PinnedParameter], base: Values, index: int, bases: int) -> Values:
    """The base itself as a trial's parameters, as far as the space holds its values: no stage ends below its start."""
    fixed = {names.BASE: index} if bases > 1 else {}
    for parameter in space:
        distribution = json_to_distribution(parameter.distribution)
        if parameter.exists_for(base) and holds(distribution, base[parameter.name]):
            fixed[parameter.name] = base[parameter.name]
    return fixed


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a parameter of that distribution can have the value."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if not isinstance(value, int | float) or not distribution.low <= value <= distribution.high:
        return False
    return not distribution.step or value in _steps(distribution)


def _grid(spaces: Sequence[Sequence[PinnedParameter]], bases: Sequence[Values]) -> list[Values]:
    """Every combination that the conditions allow, each once."""
    cells: list[Values] = []
    for index, (space, base) in enumerate(zip(spaces, bases, strict=True)):
        partial: list[Values] = [{names.BASE: index} if len(spaces) > 1 else {}]
        for parameter in space:
            steps = _steps(json_to_distribution(parameter.distribution))
            partial = [
                {**cell, **extra}
                for cell in partial
                for extra in (
                    ({parameter.name: value} for value in steps) if parameter.exists_for({**base, **cell}) else ({},)
                )
            ]
        cells += partial
    return cells


def _check_compatible(where: str, spaces: Sequence[Sequence[PinnedParameter]]) -> None:
    """Raise UserError where Optuna could not tell that a parameter is the same around one base and around another."""
    first_of: dict[str, BaseDistribution] = {}
    for parameter in (parameter for space in spaces for parameter in space):
        distribution = json_to_distribution(parameter.distribution)
        first = first_of.setdefault(parameter.name, distribution)
        try:
            check_distribution_compatibility(first, distribution)
        except ValueError:
            was, here = describe_distribution(first), describe_distribution(distribution)
            raise UserError(
                f"{where}: {parameter.name} is {was} around one base and {here} around another; give all bases the "
                "same choices, or ranges of one kind"
            ) from None


def describe_distribution(distribution: BaseDistribution) -> str:
    """For messages: `one of (16, 32)`, `numbers from 0.1 to 1 on a log scale`."""
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {distribution.choices}"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = "whole numbers" if isinstance(distribution, IntDistribution) else "numbers"
    steps = f" in steps of {distribution.step:.12g}" if distribution.step not in (None, 1) else ""
    scale = " on a log scale" if distribution.log else ""
    return f"{kind} from {distribution.low:.12g} to {distribution.high:.12g}{steps}{scale}"


def _steps(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution) and distribution.step is not None
    count = int((distribution.high - distribution.low) / distribution.step + 1e-9) + 1
    return [distribution.low + index * distribution.step for index in range(count)]


def _draw_all(pinned: PinnedStage, is_feasible: Feasible) -> PinnedStage:
    """Random search drawn here and now: any number of workers then runs the same table of trials."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=pinned.seed))
    queue = []
    for fixed in pinned.queue:
        for _ in range(DRAWS):
            study.enqueue_trial(fixed)
            trial = study.ask()
            config = pinned.suggest(trial)
            if set(trial.params) <= set(fixed) or is_feasible(config):
                break
        queue.append(dict(trial.params))
    return PinnedStage(**{**vars(pinned), "queue": tuple(queue)})


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)
