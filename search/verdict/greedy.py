"""Greedy choice of the runs that are combined into one classifier.

Source: Wortsman et al. 2022, Model soups (arXiv:2203.05482), recipe 1; for ensembles, Caruana et al. 2004, Ensemble
selection from libraries of models, without repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Run = TypeVar("Run")


def choose_runs(
    runs: Sequence[Run],
    value_of: Callable[[list[Run]], float],
    *,
    most: int,
    strictly: bool,
    is_late: Callable[[], bool] = lambda: False,
) -> tuple[list[Run], float]:
    """Choose runs to combine, and return them with their value, of which a larger one is better.

    The first run is always chosen. Each of the others is added, in order, if the value of all chosen runs then does
    not fall, or with `strictly` if it rises. Ends early after `most` chosen runs, or when `is_late`.
    """
    chosen = [runs[0]]
    best = value_of(chosen)
    for run in runs[1:]:
        if len(chosen) == most or is_late():
            break
        value = value_of([*chosen, run])
        if value > best or (value == best and not strictly):
            chosen.append(run)
            best = value
    return chosen, best
