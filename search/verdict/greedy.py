"""Greedy choice of the runs that are combined into one classifier.

Source: Wortsman et al. 2022, Model soups (arXiv:2203.05482), recipe 1; for ensembles, Caruana et al. 2004, Ensemble
selection from libraries of models, without repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Run = TypeVar("Run")
Made = TypeVar("Made")


def choose_runs(
    runs: Sequence[Run],
    make: Callable[[list[Run]], Made],
    is_better: Callable[[Made, Made], bool],
    *,
    most: int,
    is_late: Callable[[], bool] = lambda: False,
) -> tuple[list[Run], Made]:
    """Choose runs to combine, and return them with what is made of them.

    The first run is always chosen. Each of the others is added, in order, if what is made of all chosen runs is then
    better than before. Ends early after `most` chosen runs, or when `is_late`.
    """
    chosen = [runs[0]]
    best = make(chosen)
    for run in runs[1:]:
        if len(chosen) == most or is_late():
            break
        made = make([*chosen, run])
        if is_better(made, best):
            chosen.append(run)
            best = made
    return chosen, best
