"""`search.run --plan`: stages, spaces, trials and the expected time, printed before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Console
from rich.table import Table

from search.cost import StageCost, total_s
from search.progress import duration
from studies.definition import Stage, Study, When


def plan_json(study: Study, costs: Sequence[StageCost], data: Mapping[str, Any]) -> dict[str, Any]:
    """The plan for `--json`."""
    return {
        "study": study.name,
        "stages": [
            {"name": c.name, "trials": c.trials, "epochs": c.epochs, "epoch_s": c.epoch_s, "expected_s": c.wall_s}
            for c in costs
        ],
        "expected_s": total_s(costs),
        "data": {key: data[key] for key in ("fingerprint", "train", "val", "classes")},
    }


def print_plan(study: Study, costs: Sequence[StageCost], console: Console) -> None:
    """The plan for people."""
    table = Table(title=f"{study.name}: {study.description}", title_justify="left", show_lines=True)
    for heading in ("stage", "trials", "epochs", "search", "space", "expected"):
        table.add_column(heading, justify="right" if heading in ("trials", "epochs", "expected") else "left")
    for stage, cost in zip(study.stages, costs, strict=False):
        how = f"{stage.sampler}, {stage.pruner} pruning, around the best {stage.bases}"
        table.add_row(
            stage.name, str(cost.trials), f"{cost.epochs:g}", how, _space(study, stage), duration(cost.wall_s)
        )
    confirm = costs[-1]
    how = f"the best {study.confirm.finalists}, {study.confirm.seeds} fresh seeds each"
    table.add_row("confirm", str(confirm.trials), f"{confirm.epochs:g}", how, "", duration(confirm.wall_s))
    console.print(table)
    console.print(f"expected in all: {duration(total_s(costs))}, from a short measurement on this machine")


def _space(study: Study, stage: Stage) -> str:
    """A line per parameter; ranges around a base are shown around the start configuration."""
    lines = []
    for name, entry in stage.space_around(study.config).items():
        if isinstance(entry, When):
            condition = " or ".join(map(str, entry.values))
            lines.append(f"{name}: {_range(entry.distribution)} if {entry.parameter} is {condition}")
        else:
            lines.append(f"{name}: {_range(entry)}")
    return "\n".join(lines)


def _range(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    scale = ", log" if distribution.log else ""
    return f"{distribution.low:g} to {distribution.high:g}{scale}"
