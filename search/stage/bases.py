"""The configurations that a stage passes on: its best, but different enough that a runner-up can still win."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from optuna.trial import FrozenTrial

from models.config import TrainConfig
from models.values import from_flat
from search import names
from search.stage.pareto import front
from search.stage.shortlist import shortlist
from search.stage.snapshot import rank_trials
from search.store.pinned_stage import PinnedStage


def handed_on(stage: PinnedStage, trials: Sequence[FrozenTrial], count: int) -> list[tuple[FrozenTrial, TrainConfig]]:
    """The best `count` configurations that a stage passes on, best first; with rungs, paused trials count too."""
    if stage.is_probe:
        return [(trial, from_flat(trial.user_attrs[names.CONFIG])) for trial, _ in shortlist(stage, trials, count)]
    best = best_configs(trials, count, maximize=stage.maximize, against=stage.against)
    if stage.rungs:
        taken = [config for _, config in best]
        best += _paused_configs(trials, taken, count - len(best), maximize=stage.maximize)
    return best


def best_configs(
    trials: Sequence[FrozenTrial], count: int, *, maximize: bool, against: str | None = None
) -> list[tuple[FrozenTrial, TrainConfig]]:
    """The best `count` complete trials, best first, and their configurations.

    Of trials that differ only in continuous parameters, only the best is chosen while there are other candidates:
    otherwise three learning rates of one architecture would exclude every other architecture. With `against`, the name
    of a cost, only trials that no other beats in both aims are candidates, so there may be fewer than `count`.
    """
    ranked = rank_trials(trials, maximize=maximize) if against is None else front(trials, against, maximize=maximize)
    searched = sorted(
        {name for trial in ranked for name, value in trial.params.items() if not isinstance(value, float)}
    )
    first_of_kind: dict[tuple[object, ...], FrozenTrial] = {}
    for trial in ranked:
        first_of_kind.setdefault(_kind(trial, searched), trial)
    chosen = list(first_of_kind.values())[:count]
    chosen += list(islice((trial for trial in _different(ranked) if trial not in chosen), count - len(chosen)))
    return [(trial, from_flat(trial.user_attrs[names.CONFIG])) for trial in chosen]


def _paused_configs(
    trials: Sequence[FrozenTrial], taken: Sequence[TrainConfig], count: int, *, maximize: bool
) -> list[tuple[FrozenTrial, TrainConfig]]:
    """The best `count` trials that paused or were cut by the time budget, and their configurations, without `taken`.

    Of two trials the one that trained for more epochs is better, since accuracies of different epochs do not compare.
    """
    best = max if maximize else min
    partial = [
        trial
        for trial in trials
        if trial.intermediate_values and trial.user_attrs.keys() & {names.PAUSED, names.OUT_OF_TIME}
    ]
    partial.sort(key=lambda trial: best(trial.intermediate_values.values()), reverse=maximize)
    partial.sort(key=lambda trial: len(trial.intermediate_values), reverse=True)  # Of equal ones the better is first.
    chosen: list[tuple[FrozenTrial, TrainConfig]] = []
    for trial in partial:
        config = from_flat(trial.user_attrs[names.CONFIG])
        if len(chosen) < count and config not in (*taken, *(known for _, known in chosen)):
            chosen.append((trial, config))
    return chosen


def _kind(trial: FrozenTrial, searched: Sequence[str]) -> tuple[object, ...]:
    """The trial's values of these parameters. One that its stage did not search yet has the value of its base."""
    config = trial.user_attrs[names.CONFIG]
    return tuple(trial.params.get(name, config.get(name)) for name in searched)


def _different(ranked: Sequence[FrozenTrial]) -> Iterator[FrozenTrial]:
    """The trials without those that have the configuration of a better one."""
    seen: set[tuple[tuple[str, object], ...]] = set()
    for trial in ranked:
        config = tuple(sorted(trial.user_attrs[names.CONFIG].items()))
        if config not in seen:
            seen.add(config)
            yield trial
