"""The tables of an ablation on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from search.verdict.ablation_result import METHOD, AblationResult
from studies.ablation import describe_level


def print_ablation(result: AblationResult, console: Console) -> None:
    """Print an ablation: the cells, then the table of effects."""
    cells = _table(f"{result.metric} by cell, mean over its runs", ["cell"])
    for heading in ("runs", "mean (95 %)", "difference to base model (95 %)"):
        cells.add_column(heading, justify="right", no_wrap=True)
    for cell in result.cells:
        mean, difference = _figure(cell.runs.mean, cell.runs.interval, ".3f"), cell.difference
        from_base = _figure(difference.estimate, difference.interval, "+.3f") if difference else "-"
        cells.add_row(cell.name, str(len(cell.runs.values)), mean, from_base)
    effects = _table("effects, compared with the factor's first level", ["effect"])
    for heading in ("difference (95 %)", "p"):
        effects.add_column(heading, justify="right", no_wrap=True)
    effects.add_column("")
    for effect in result.effects:
        p = "-" if effect.adjusted_p is None else _p_value(effect.adjusted_p)
        name = " x ".join(map(describe_level, effect.factors, effect.levels))
        value = _figure(effect.contrast.estimate, effect.contrast.interval, "+.3f")
        effects.add_row(name, value, p, "clear" if effect.is_clear else "unclear")
    console.print(cells, effects, f"({METHOD})\n", highlight=False)


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _figure(value: float, interval: Sequence[float] | None, digits: str) -> str:
    """A value with its interval: `+0.0123 (+0.0023 to +0.0223)`."""
    shown = f"{value:{digits}}"
    return shown if interval is None else f"{shown} ({interval[0]:{digits}} to {interval[1]:{digits}})"
