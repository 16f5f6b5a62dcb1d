"""Effects in a factorial experiment whose cells all ran on the same seeds: differences of means with intervals.

The model is a randomised complete block design: a run's value is the sum of a cell's term, a seed's term, and noise of
equal variance. The least-squares fit compares cells within seeds, as a paired t-test does; with two cells and no
missing run it is that test. It estimates the noise from all cells together, which is more precise than from two.
Source: Montgomery 2017, Design and Analysis of Experiments, sections 4.1 and 5.3 (blocks in a factorial).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

CONFIDENCE = 0.95
Vector = npt.NDArray[np.float64]
Cell = Mapping[str, str]
"""A cell of the experiment: the level of each factor."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The value of one training run in a cell on a seed."""

    cell: int
    seed: int
    value: float


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """An estimated difference between cells."""

    estimate: float
    interval: tuple[float, float] | None
    """95 % confidence interval, not corrected for multiple comparisons; None if the runs do not allow one."""
    p_value: float | None
    """P-value of the t-test that the difference is zero; None without an interval."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A main effect (one factor) or a two-way interaction (two factors)."""

    factors: tuple[str, ...]
    levels: tuple[str, ...]
    """A level of each of the factors."""
    reference: tuple[str, ...]
    """The levels of comparison: the first level of each of the factors."""
    contrast: Contrast
    """For a main effect, the mean over all cells with the level minus the mean over all cells with the reference. For
    an interaction, the increase of one factor's effect from the other's reference to its level."""
    adjusted_p: float | None
    """P-value with Holm's correction over all effects."""

    @property
    def is_clear(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.adjusted_p is not None and self.adjusted_p < 1 - CONFIDENCE


class BlockModel:
    """The fitted model. A contrast that needs a cell without any run is None."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._cells = sorted({run.cell for run in runs})
        seeds = sorted({run.seed for run in runs})
        # A column for each cell, and for each seed but the first its difference from the first seed.
        design = np.array(
            [
                [float(run.cell == cell) for cell in self._cells] + [float(run.seed == seed) for seed in seeds[1:]]
                for run in runs
            ]
        )
        values = np.array([run.value for run in runs])
        self._inverse = np.linalg.pinv(design)
        self._coefficients = self._inverse @ values
        self._spare = len(runs) - int(np.linalg.matrix_rank(design))
        residual = values - design @ self._coefficients
        self._variance = float(residual @ residual) / self._spare if self._spare else float("nan")

    def contrast(self, weights: Mapping[int, float]) -> Contrast | None:
        """The weighted sum of the cells' terms; `weights` must add up to 0, so that the seeds' terms cancel."""
        if not weights.keys() <= set(self._cells):
            return None
        vector = np.zeros(len(self._coefficients))
        for cell, weight in weights.items():
            vector[self._cells.index(cell)] = weight
        estimate = float(vector @ self._coefficients)
        error = float(np.sqrt(self._variance * np.square(vector @ self._inverse).sum()))
        if not self._spare or error <= 1e-9 * max(1.0, abs(estimate)):
            return Contrast(estimate=estimate, interval=None, p_value=None)
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, self._spare)) * error
        p_value = float(2 * stats.t.sf(abs(estimate) / error, self._spare))
        return Contrast(estimate=estimate, interval=(estimate - half, estimate + half), p_value=p_value)


def estimate_effects(cells: Sequence[Cell], runs: Sequence[Run]) -> list[Effect]:
    """All main effects, then all two-way interactions, each level compared with the first level of its factor."""
    if not runs:
        return []
    levels = {factor: list(dict.fromkeys(cell[factor] for cell in cells)) for factor in cells[0]}
    model = BlockModel(runs)
    found: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = []
    for factor, (reference, *others) in levels.items():
        for level in others:
            found.append(((factor,), (level,), (reference,)))
    for one, two in combinations(levels, 2):
        for first in levels[one][1:]:
            for second in levels[two][1:]:
                found.append(((one, two), (first, second), (levels[one][0], levels[two][0])))
    estimated = [(*names, model.contrast(_weights(cells, *names))) for names in found]
    kept = [(factors, own, reference, contrast) for factors, own, reference, contrast in estimated if contrast]
    adjusted = holm([contrast.p_value for *_, contrast in kept])
    return [
        Effect(factors=factors, levels=own, reference=reference, contrast=contrast, adjusted_p=p)
        for (factors, own, reference, contrast), p in zip(kept, adjusted, strict=True)
    ]


def _weights(
    cells: Sequence[Cell], factors: tuple[str, ...], levels: tuple[str, ...], reference: tuple[str, ...]
) -> dict[int, float]:
    """The weight of each cell in an effect: the product over the factors of +1 for the level, -1 for the reference,
    else 0, divided by the number of cells that have the levels.
    """
    signs = {
        index: np.prod(
            [
                float(cell[factor] == level) - float(cell[factor] == base)
                for factor, level, base in zip(factors, levels, reference, strict=True)
            ]
        )
        for index, cell in enumerate(cells)
    }
    # Equally many cells have each combination of levels that the effect compares.
    count = sum(all(cell[f] == level for f, level in zip(factors, levels, strict=True)) for cell in cells)
    return {index: float(sign) / count for index, sign in signs.items() if sign}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values corrected for multiple tests; None stays None. Source: Holm 1979."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[index] = largest
    return adjusted
