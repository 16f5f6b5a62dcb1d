"""`search.run --plan`: stages, spaces, trials and the expected time, printed before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.backbones import describe_children
from models.config import BackboneConfig
from search.durations import show_duration
from search.stage.budget import TimeBudget
from search.stage.extending import is_extended, pool_start
from search.store.study_data import StudyData
from search.store.warm_start_record import WarmStart
from search.supervisor.budget_changes import stage_changes
from search.supervisor.estimate import StageCost, total_s
from search.text import plural
from studies.definition import Stage, Study, When


def plan_json(
    study: Study, costs: Sequence[StageCost], data: StudyData, warm: WarmStart | None = None
) -> dict[str, Any]:
    """The plan as `--json` prints it."""
    return {
        "study": study.name,
        "stages": [
            {"name": c.name, "trials": c.trials, "epochs": c.epochs, "epoch_s": c.epoch_s, "expected_s": c.wall_s}
            for c in costs
        ],
        "warm_start": warm and warm.to_json(),
        "expected_s": total_s(costs),
        "data": {"fingerprint": data.fingerprint, "train": data.train, "val": data.val, "classes": list(data.classes)},
    }


def print_plan(
    study: Study,
    costs: Sequence[StageCost],
    console: Console,
    warm: WarmStart | None = None,
    budget: TimeBudget | None = None,
) -> None:
    """Print the plan for people."""
    console.print(Text.assemble((study.name, "bold"), f": {study.description}\n"))
    for line in warm.lines() if warm else ():
        console.print(line, highlight=False, markup=False)
    fitted = [budget.foresee(at, stage) if budget else stage for at, stage in enumerate(study.stages)]
    for position, (stage, cost) in enumerate(zip(study.stages, costs, strict=False)):
        around = _around(study, position)
        aims = f", {study.metric} against {stage.against}" if stage.against else ""
        details = (
            f"  {plural(cost.trials, 'trial')} of {_epochs(cost.epochs)}, sampler {stage.sampler}, "
            f"pruner {stage.pruner}{aims}{around}{_early(study, position)}: {show_duration(cost.wall_s)}"
        )
        console.print(Text.assemble((f"{position + 1} {stage.name}", "bold"), details))
        if changes := stage_changes(stage, fitted[position], is_planned=True):
            console.print(f"  the budget {changes}", highlight=False)
        if position and callable(stage.space):
            console.print("  the ranges depend on the base; shown for the start configuration", highlight=False)
        console.print(_space(study, stage))
    _print_children(study, console)
    _print_ending(study, costs[-1], console)
    in_all = f"about {show_duration(total_s(costs))} in total, from a short measurement on this machine"
    is_fitted = budget is not None and fitted != list(study.stages)
    shortened = "; the budget changes that, and gives the last stage the time that is left" if is_fitted else ""
    console.print(f"{in_all}{shortened}", highlight=False, soft_wrap=True)


def _early(study: Study, position: int) -> str:
    """Whether a stage may end early: of stages that share their trials, only the last one does."""
    may_end = study.stages[position].early_end and not is_extended(study, position)
    return ", may end early" if may_end else ""


def _around(study: Study, position: int) -> str:
    """What a stage takes from the stage before."""
    if not position:
        return ""
    stage, before = study.stages[position], study.stages[position - 1].name
    if stage.extends:
        return f", together with all that {before} searches; its paused trials may continue"
    return f", around the best {stage.bases} of {before}"


def _print_ending(study: Study, cost: StageCost, console: Console) -> None:
    ablation, last = study.ablation, _last(study)
    if ablation is None:
        trained = f"the best {study.confirm.finalists} of {last} on {plural(study.confirm.seeds, 'fresh seed')} each"
    else:
        around = f", around the best of {last}" if last else ""
        trained = f"{plural(ablation.candidates, 'cell')} on {plural(ablation.seeds, 'shared seed')} each{around}"
    details = f"  {trained}, {_epochs(cost.epochs)}: {show_duration(cost.wall_s)}"
    console.print(Text.assemble((study.ending.name, "bold"), details))
    if study.combines:
        console.print(f"  then {_combination(study)}, if that is better on validation images", highlight=False)
    if ablation is not None:
        table = Table.grid(padding=(0, 2))
        for factor, levels in ablation.factors.items():
            table.add_row("", factor, "; ".join(f"{level}: {_fields(values)}" for level, values in levels.items()))
        console.print(table)
    console.print()


def _combination(study: Study) -> str:
    """How the finalists' runs become one classifier."""
    kinds = {"soup": "the mean of their weights", "ensemble": "the mean of their probabilities", "none": "the best run"}
    return kinds[study.confirm.combine] + (", over mirrored images too" if study.confirm.mirror else "")


def _last(study: Study) -> str | None:
    """The stage that the last one takes its configurations from, or the stages that share their trials."""
    if not study.stages:
        return None
    first, last = study.stages[pool_start(study, len(study.stages) - 1)], study.stages[-1]
    return last.name if first is last else f"{first.name} to {last.name}"


def _epochs(epochs: float) -> str:
    return plural(round(epochs), "epoch") if epochs == round(epochs) else f"{epochs:.0f} epochs on average"


def _fields(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items()) or "unchanged"


def _print_children(study: Study, console: Console) -> None:
    """Print the children of the backbone that freezing counts, if the study uses a backbone and does not choose it."""
    if isinstance(study.config, BackboneConfig) and not any(stage.is_probe for stage in study.stages):
        heading = (f"children of {study.config.backbone}", "bold")
        console.print(Text.assemble("\n", heading, ", as the freezing options count them"))
        for line in describe_children(study.config):
            console.print(f"  {line}", highlight=False, markup=False)
        console.print()


def _space(study: Study, stage: Stage) -> Table:
    """A line per parameter; ranges that depend on the base are shown for the start configuration."""
    table = Table.grid(padding=(0, 2))
    for name, entry in stage.space_around(study.config).items():
        if isinstance(entry, When):
            condition = " or ".join(map(str, entry.values))
            table.add_row("", name, f"{_range(entry.distribution)} (where {entry.parameter} is {condition})")
        else:
            table.add_row("", name, _range(entry))
    return table


def _range(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    scale = ", log scale" if distribution.log else ""
    return f"{distribution.low:g} to {distribution.high:g}{scale}"
