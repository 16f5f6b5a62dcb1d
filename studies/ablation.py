"""A factorial experiment as part of a study: the effects of several factors, and their interactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from data.errors import UserError
from models.config import TrainConfig
from models.values import FlatValue, with_values

ABLATION_STAGE = "ablation"
WITH, WITHOUT = "with", "without"
"""Levels of a factor that is either present or absent."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A factorial experiment: the effect of each factor, and of each pair of factors, with a confidence interval.

    Every combination of the factors' levels is a cell, and all cells are trained on the same seeds. An ablation takes
    the place of the confirmation. It varies the study's configuration or, after stages, the best configuration of the
    last stage. The cell with the best mean over the seeds is the champion.
    """

    factors: Mapping[str, Mapping[str, Mapping[str, FlatValue]]]
    """Factor -> level -> the fields that this level sets. The other levels of a factor are compared with its first
    level; the cell of all first levels is the base model."""
    epochs: int
    seeds: int = 3

    @property
    def name(self) -> str:
        """Name of the stage."""
        return ABLATION_STAGE

    @property
    def candidates(self) -> int:
        """Number of cells, each of which is trained on every seed."""
        return prod(len(levels) for levels in self.factors.values())

    def cells(self) -> list[dict[str, str]]:
        """The level of each factor in each cell; the base model first."""
        return [dict(zip(self.factors, levels, strict=True)) for levels in product(*self.factors.values())]

    def values(self, cell: Mapping[str, str]) -> dict[str, FlatValue]:
        """The fields that a cell sets."""
        fields: dict[str, FlatValue] = {"epochs": self.epochs}
        for factor, level in cell.items():
            fields |= self.factors[factor][level]
        return fields

    def check(self, where: str, config: TrainConfig) -> None:
        """Raise UserError, in one line that begins with `where`, if the cells cannot be built from `config`."""
        if not self.factors or min(self.epochs, self.seeds) < 1:
            raise UserError(f"{where}: give at least one factor, one epoch and one seed")
        set_by: dict[str, str] = {}
        for factor, levels in self.factors.items():
            if len(levels) < 2:
                raise UserError(f"{where}: factor {factor!r} has no second level to compare the first with")
            for name in {name for fields in levels.values() for name in fields}:
                if (other := set_by.setdefault(name, factor)) != factor:
                    raise UserError(f"{where}: both {other!r} and {factor!r} set {name}; factors may not overlap")
        try:
            configs = {describe_cell(cell): with_values(config, self.values(cell)) for cell in self.cells()}
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        first_of: dict[TrainConfig, str] = {}
        for cell, filled in configs.items():
            if (other := first_of.setdefault(filled, cell)) != cell:
                raise UserError(f"{where}: {other!r} and {cell!r} are the same configuration")


def describe_cell(cell: Mapping[str, str]) -> str:
    """A cell as text: `no batch norm, dropout, kernel 5`."""
    return ", ".join(describe_level(factor, level) for factor, level in cell.items())


def describe_level(factor: str, level: str) -> str:
    """A level as text; for a factor that is present or absent, `dropout` or `no dropout`."""
    return {WITH: factor, WITHOUT: f"no {factor}"}.get(level, f"{factor} {level}")
