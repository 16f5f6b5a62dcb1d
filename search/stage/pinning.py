"""Pinning: the supervisor fixes the settings of a stage once, before any worker reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)

from data.errors import UserError
from models.config import TrainConfig
from models.values import from_flat, to_flat, with_values
from search import names
from search.stage.distributions import count, describe_distribution, holds, steps
from search.stage.extending import earlier_studies, extended, is_extended
from search.stage.feasibility import DRAWS, NEW_DRAWS, Feasible, anything
from search.stage.guesses import GuidedRandomSampler, guesses
from search.stage.rungs import rung_epochs
from search.stage.seeds import derive_seed
from search.stage.suggest import suggest_config
from search.stage.tried import Tried
from search.stage.tries import inside
from search.store.pinned_stage import PinnedParameter, PinnedStage, Values
from studies.definition import Ablation, Around, Confirm, Space, Stage, Study, When
from studies.probe import Probe

MAX_COMBINATIONS = 10_000
"""The most configurations that are listed to find out whether a stage has at least as many trials."""


def pin_search(
    study: Study,
    position: int,
    stage: Stage,
    bases: Sequence[TrainConfig],
    first: Sequence[Values] = (),
    *,
    most_trials: int = 0,
    is_feasible: Feasible = anything,
) -> PinnedStage:
    """Fix the settings of a search stage around its base configurations.

    The stage has `stage.trials` trials, and slots for `most_trials` if that is more.

    A grid has one trial for each cell, and `stage.trials` is not used. Any other stage with at least as many trials as
    there are different configurations trains each of them once. The bases come first, then the stage's `tries`, then
    trials with the parameters `first`, all within the budget. All parameters of a random search are drawn here, and
    infeasible ones are drawn again.

    A stage that extends the one before gets the bases of the first stage of its pool. It does not begin with the values
    of the bases, which that stage has trained, unless the user guessed a value of one of its parameters.
    """
    own = stage
    if stage.extends:
        stage = extended(study, position, stage)
    bases = [with_values(base, {**stage.values, "epochs": stage.epochs}) for base in bases]
    spaces = tuple(pin_space(stage.space_around(base)) for base in bases)
    _check_compatible(f"{study.name}/{stage.name}", spaces)
    seed = derive_seed(study.seed, f"{position + 1}-{stage.name}")
    if isinstance(stage, Probe):
        queue = [dict(candidate) for candidate in stage.queue(bases[0])]
    elif stage.sampler == "grid":
        queue = _grid(spaces, [to_flat(base) for base in bases])
    else:
        flat = [to_flat(base) for base in bases]
        starts = [
            _inside(space, base, index, len(bases))
            for index, (space, base) in enumerate(zip(spaces, flat, strict=True))
        ]
        queue = starts if not stage.extends or _has_guess(own, bases[0]) else []
        every = all_combinations(spaces, flat, is_feasible)
        if every is not None and len(every) <= stage.trials:
            queue = _starts_first(starts, every)
        elif any(spaces):
            tries = [_tried(spaces, flat, chosen) for chosen in stage.tries]
            wanted = max(stage.trials, most_trials)
            slots = wanted if every is None else min(wanted, len(every))
            queue = [*queue, *tries, *first, *_free(spaces, slots)][:slots]
    pinned = PinnedStage(
        name=stage.name,
        trials=len(queue) if stage.sampler == "grid" else min(stage.trials, len(queue)),
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
        rungs=rung_epochs(_most_epochs(stage, spaces)) if stage.pruner == "asha" else (),
        against=stage.against,
        may_end_early=stage.early_end,
        probe_images=stage.images if isinstance(stage, Probe) else 0,
        earlier=earlier_studies(study, position) if stage.extends else (),
        is_extended=is_extended(study, position),
    )
    return _draw_all(pinned, is_feasible) if stage.sampler == "random" else pinned


def _has_guess(stage: Stage, base: TrainConfig) -> bool:
    """Whether the user guessed a value of a parameter of the stage's own space."""
    return any(parameter.guess is not None for parameter in pin_space(stage.space_around(base)))


def pin_confirmation(
    study: Study, confirm: Confirm, finalists: Sequence[TrainConfig], *, most_seeds: int = 0
) -> PinnedStage:
    """The confirmation: every finalist on the same fresh seeds, so that paired differences can be compared.

    It has runs on `confirm.seeds` seeds, and slots for `most_seeds` if that is more.
    """
    extra = dict(confirm.values) if confirm.epochs is None else {**confirm.values, "epochs": confirm.epochs}
    configs = [with_values(finalist, extra) for finalist in finalists]
    pinned = _pin_last(study, replace(confirm, seeds=max(confirm.seeds, most_seeds)), configs)
    return replace(pinned, trials=confirm.seeds * len(configs))


def pin_ablation(study: Study, ablation: Ablation, base: TrainConfig) -> PinnedStage:
    """The ablation: every cell on the same seeds, so that cells are compared within each seed."""
    cells = ablation.cells()
    configs = [with_values(base, ablation.values(cell)) for cell in cells]
    return replace(_pin_last(study, ablation, configs), cells=tuple(cells))


def _pin_last(study: Study, ending: Confirm | Ablation, configs: Sequence[TrainConfig]) -> PinnedStage:
    seed = derive_seed(study.seed, ending.name)
    # Seed by seed: if time runs out, all configurations have been trained equally often.
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
    """The parameters of a space in a form that JSON can hold, in the order in which they are drawn."""
    pinned = [
        _pin_parameter(name, entry.distribution, when=entry.parameter, when_values=tuple(entry.values))
        if isinstance(entry, When)
        else _pin_parameter(name, entry)
        for name, entry in space.items()
    ]
    # A parameter is drawn after the parameter that its condition depends on.
    return tuple(sorted(pinned, key=lambda parameter: parameter.when is not None))


def _pin_parameter(name: str, distribution: BaseDistribution, **condition: Any) -> PinnedParameter:
    guess = None
    if isinstance(distribution, Around):
        guess = distribution.guess
        distribution = FloatDistribution(distribution.low, distribution.high, log=True)
    return PinnedParameter(name=name, distribution=distribution_to_json(distribution), guess=guess, **condition)


def _most_epochs(stage: Stage, spaces: Sequence[Sequence[PinnedParameter]]) -> int:
    """The most epochs that a trial of the stage may train, since a space may vary them."""
    varied: list[int] = [
        max(steps(json_to_distribution(parameter.distribution)))
        for space in spaces
        for parameter in space
        if parameter.name == "epochs"
    ]
    return max([stage.epochs, *varied])


def _inside(space: Sequence[PinnedParameter], base: Values, index: int, bases: int) -> Values:
    """The parameters of a trial with the base's own values, where the space allows them, or with the user's guesses.

    With this trial, no stage ends below its starting point.
    """
    fixed = {names.BASE: index} if bases > 1 else {}
    for parameter in space:
        distribution = json_to_distribution(parameter.distribution)
        value: Any = base[parameter.name] if parameter.guess is None else parameter.guess
        if parameter.exists_for(base) and holds(distribution, value):
            fixed[parameter.name] = value
    return fixed


def _tried(spaces: Sequence[Sequence[PinnedParameter]], bases: Sequence[Values], chosen: Mapping[str, Any]) -> Values:
    """The parameters of a hand-picked trial around the base whose space holds most of them."""
    fitting = [inside(space, base, chosen) for space, base in zip(spaces, bases, strict=True)]
    index = max(range(len(fitting)), key=lambda position: len(fitting[position]))
    return {**({names.BASE: index} if len(spaces) > 1 else {}), **fitting[index]}


def all_combinations(
    spaces: Sequence[Sequence[PinnedParameter]], bases: Sequence[Values], is_feasible: Feasible = anything
) -> list[Values] | None:
    """The parameters of all different configurations that can be built; None if they are too many to be listed.

    Where no configuration can be built, all are returned: their trials report the reason.
    """
    at_most = 0
    for space in spaces:
        sizes = [count(json_to_distribution(parameter.distribution)) for parameter in space]
        if None in sizes:
            return None
        at_most += prod(size for size in sizes if size is not None)
    if at_most > MAX_COMBINATIONS:
        return None
    different: dict[tuple[tuple[str, Any], ...], Values] = {}
    feasible = []
    for cell in _grid(spaces, bases):
        base = from_flat(bases[cell.get(names.BASE, 0)])
        config = with_values(base, {name: value for name, value in cell.items() if name != names.BASE})
        key = tuple(to_flat(config).items())
        if key not in different:
            different[key] = cell
            feasible += [cell] if is_feasible(config) else []
    return feasible or list(different.values())


def _starts_first(starts: Sequence[Values], cells: Sequence[Values]) -> list[Values]:
    """All cells; those that hold the values of a start come first."""
    is_start = [any(start.items() <= cell.items() for start in starts if start) for cell in cells]
    return [cell for wanted in (True, False) for cell, start in zip(cells, is_start, strict=True) if start == wanted]


def _free(spaces: Sequence[Sequence[PinnedParameter]], trials: int) -> list[Values]:
    """Trials whose parameters the sampler draws. A base with an empty space has one trial only, so these avoid it."""
    searched = [index for index, space in enumerate(spaces) if space]
    if len(searched) == len(spaces):
        return [{}] * trials
    return [{names.BASE: searched[slot % len(searched)]} for slot in range(trials)]


def _grid(spaces: Sequence[Sequence[PinnedParameter]], bases: Sequence[Values]) -> list[Values]:
    """The parameters of every combination that the conditions allow."""
    cells: list[Values] = []
    for index, (space, base) in enumerate(zip(spaces, bases, strict=True)):
        partial: list[Values] = [{names.BASE: index} if len(spaces) > 1 else {}]
        for parameter in space:
            values = steps(json_to_distribution(parameter.distribution))
            partial = [
                {**cell, **extra}
                for cell in partial
                for extra in (
                    ({parameter.name: value} for value in values) if parameter.exists_for({**base, **cell}) else ({},)
                )
            ]
        cells += partial
    return cells


def _check_compatible(where: str, spaces: Sequence[Sequence[PinnedParameter]]) -> None:
    """Raise UserError if Optuna would refuse the ranges that a parameter has around different bases."""
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


def _draw_all(pinned: PinnedStage, is_feasible: Feasible) -> PinnedStage:
    """Draw all trials of a random search in advance, so that they do not depend on the number of workers."""
    study = optuna.create_study(sampler=GuidedRandomSampler(pinned.seed, guesses(pinned)))
    queue: list[Values] = []
    tried = Tried(pinned)
    for slot, fixed in enumerate(pinned.queue):
        for draws in range(1, DRAWS + 1):
            study.enqueue_trial(fixed)
            trial = study.ask()
            config = suggest_config(pinned, trial)
            if set(trial.params) <= set(fixed):
                break
            if is_feasible(config) and (draws >= NEW_DRAWS or not tried.holds(("", slot), trial.params)):
                break
        tried.add(("", slot), trial.params)
        queue.append(dict(trial.params))
    return PinnedStage(**{**vars(pinned), "queue": tuple(queue)})
