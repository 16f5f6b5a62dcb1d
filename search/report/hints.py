"""Smaller findings about a stage: choices that were pruned more often, best values at the edge of a range, the last
improvement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy import stats

from search.report.facts import StageFacts
from search.report.metric import plural, show_value
from search.report.spaces import levels, parameters_of
from search.stage.snapshot import rank_trials

SIGNIFICANT = 0.05
WINNERS = 3
"""Number of best trials that must agree before a range counts as too narrow."""
EDGE = 0.1
"""Share of a range at each end that counts as its edge."""
MIN_COMPLETE = 10
"""Complete trials that a stage needs before the edges of its ranges are judged."""
MIN_LEVEL_TRIALS = 5
"""Trials with a level, and trials without it, that a comparison of pruning needs."""
MAX_CHOICES_NAMED = 2


@dataclass(frozen=True, kw_only=True)
class PrunedChoice:
    """A level that was pruned more often than the others."""

    parameter: str
    level: str
    pruned: int
    """Number of trials with this level that were pruned."""
    trials: int
    """Number of trials with this level."""
    others_pruned: int
    """Number of trials with another level that were pruned."""
    others: int
    """Number of trials with another level."""
    p_value: float
    """P-value of Fisher's exact test, one-sided, after Bonferroni's correction."""
    tests: int
    """Number of comparisons that the correction accounts for."""


def pruned_choices(stage: StageFacts) -> list[PrunedChoice]:
    """Levels whose trials were pruned more often than chance explains, clearest first, at most `MAX_CHOICES_NAMED`."""
    begun = stage.trials[stage.trials["state"].isin(["complete", "pruned"])]
    is_pruned = begun["state"] == "pruned"
    tried = []
    for parameter in parameters_of([stage.optuna_trials[number] for number in begun.index]):
        values = stage.params[parameter.name].reindex(begun.index).dropna()
        having = is_pruned[values.index]
        banded = levels(parameter, values)
        for level, count in banded.value_counts().items():
            if MIN_LEVEL_TRIALS <= count <= len(values) - MIN_LEVEL_TRIALS:
                own = having[banded == level]
                tried.append((parameter.name, str(level), int(own.sum()), len(own), int(having.sum()), len(having)))
    choices = []
    for name, level, pruned, count, all_pruned, total in tried:
        table = [[pruned, count - pruned], [all_pruned - pruned, total - count - all_pruned + pruned]]
        p_value = min(1.0, len(tried) * float(stats.fisher_exact(table, alternative="greater").pvalue))
        choices.append(
            PrunedChoice(
                parameter=name,
                level=level,
                pruned=pruned,
                trials=count,
                others_pruned=all_pruned - pruned,
                others=total - count,
                p_value=p_value,
                tests=len(tried),
            )
        )
    clear = [choice for choice in choices if choice.p_value < SIGNIFICANT]
    return sorted(clear, key=lambda choice: choice.p_value)[:MAX_CHOICES_NAMED]


def edge_hints(stage: StageFacts) -> Iterator[str]:
    """A sentence for each parameter whose value lies at the same end of its range in all of the best trials."""
    ranked = rank_trials(stage.optuna_trials, maximize=stage.pinned.direction == "maximize")
    if len(ranked) < MIN_COMPLETE:
        return
    winners = ranked[:WINNERS]
    for name in winners[0].params:
        if all(name in trial.params for trial in winners):
            places = [_place(trial.distributions[name], trial.params[name]) for trial in winners]
            for end, is_there in (("lower", [p <= EDGE for p in places]), ("upper", [p >= 1 - EDGE for p in places])):
                if all(is_there):
                    values = ", ".join(show_value(trial.params[name]) for trial in winners)
                    yield (
                        f"In the best {WINNERS} trials, {name} is at the {end} end of its range ({values}). "
                        "Better values may lie outside the range."
                    )


def last_improvement(stage: StageFacts) -> str | None:
    """A sentence on when the stage found its best trial; None before the first complete one, or with one trial."""
    best = stage.snapshot.best_trial
    begun = stage.trials[stage.trials["started_at"].notna()].index
    if best is None or len(begun) < 2:
        return None
    after = int((begun > best).sum())
    if after == 0:
        return f"The best trial, #{best}, was the last one, so more trials might have found a better one."
    return f"The best trial was #{best}; {plural(after, 'later trial')} did not improve on it."


def _place(distribution: BaseDistribution, value: object) -> float:
    """Position of a value in its range, from 0 to 1; NaN without an order, and for fewer than three choices."""
    if isinstance(distribution, CategoricalDistribution):
        numbers = sorted(c for c in distribution.choices if isinstance(c, int | float) and not isinstance(c, bool))
        if len(numbers) < 3 or len(numbers) < len(distribution.choices) or not isinstance(value, int | float):
            return math.nan
        return numbers.index(value) / (len(numbers) - 1)
    assert isinstance(distribution, FloatDistribution | IntDistribution) and isinstance(value, int | float)
    if distribution.single():
        return math.nan
    scale = math.log if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    return (scale(value) - low) / (high - low)
