"""The tables of a study's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)

from search import names
from search.report.facts import StageFacts, StudyFacts
from search.report.metric import Metric, different_texts, percent, plural, show_time
from search.report.spent import StageTime
from search.report.table import Cell, count_cell, text_cell, value_cell
from search.report.table import Table as Table
from search.stage.snapshot import rank_trials
from search.store.pinned_stage import PinnedStage
from search.text import show_when
from search.verdict.champion import ties

BEST_SHOWN = 12
"""Rows of a table of best configurations."""


def champion_table(facts: StudyFacts) -> Table | None:
    """The champion's searched fields beside their start values and the values tried; None without a champion."""
    if facts.record.champion is None:
        return None
    start = facts.record.definition.config
    rows = [
        (text_cell(field), value_cell(value), value_cell(start.get(field, "-")), text_cell(tried(facts, field)))
        for field, value in facts.record.champion.searched.items()
    ]
    return Table(
        caption=(
            "The searched hyperparameters: the champion's value, the value that the search started from, and the "
            "values that it tried. The study fixes every other hyperparameter."
        ),
        headings=("hyperparameter", "champion", "start", "tried"),
        rows=tuple(rows),
    )


def tried(facts: StudyFacts, field: str) -> str:
    """The ranges and choices of a field, stage by stage; for a stage with several bases, all of them together."""
    ranges: dict[str, None] = {}
    for stage in facts.stages:
        if searched := _searched(stage.pinned, field):
            ranges[searched] = None
    if facts.confirmation is not None and facts.confirmation.pinned.cells:
        values = different_texts(base.get(field, "-") for base in facts.confirmation.pinned.bases)
        ranges |= {", ".join(values.values()): None} if len(values) > 1 else {}
    return ", then ".join(ranges)


def _searched(pinned: PinnedStage, field: str) -> str:
    """The range or the choices of a field in a stage, over all its bases; empty for a field that it does not vary."""
    stored = [entry.distribution for space in pinned.spaces for entry in space if entry.name == field]
    return _range([json_to_distribution(text) for text in stored]) if stored else ""


def _range(distributions: Sequence[BaseDistribution]) -> str:
    choices: dict[Any, None] = {}
    numbers: list[float] = []
    for distribution in distributions:
        if isinstance(distribution, CategoricalDistribution):
            choices |= dict.fromkeys(distribution.choices)
        else:
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            numbers += [distribution.low, distribution.high]
    texts = different_texts(choices or (min(numbers), max(numbers)))
    return ", ".join(texts.values()) if choices else f"{texts[min(numbers)]} to {texts[max(numbers)]}"


def best_table(stages: Sequence[StageFacts], metric: Metric) -> Table | None:
    """The best complete trials of these stages; None before the first complete trial."""
    ranked = [
        (stage, trial)
        for stage in stages
        for trial in rank_trials(stage.optuna_trials, maximize=metric.maximize)[:BEST_SHOWN]
    ]
    if not ranked:
        return None
    sign = -1.0 if metric.maximize else 1.0
    ranked.sort(key=lambda entry: sign * float(entry[1].value or 0.0))
    ranked = ranked[:BEST_SHOWN]
    searched = list(dict.fromkeys(name for stage in stages for name in stage.params.columns if name != names.BASE))
    texts = {
        field: different_texts(trial.user_attrs[names.CONFIG].get(field, "-") for _, trial in ranked)
        for field in searched
    }
    fields = [field for field in searched if len(texts[field]) > 1 or len(ranked) == 1]
    shared = ", ".join(f"{field} {text}" for field in searched if field not in fields for text in texts[field].values())
    rows = []
    for stage, trial in ranked:
        row, config = stage.trials.loc[trial.number], trial.user_attrs[names.CONFIG]
        rows.append(
            (
                text_cell(f"{stage.name} #{trial.number}"),
                Cell(text=metric.show(trial.value), key=float(trial.value or 0.0)),
                *(value_cell(config.get(field, "-"), texts[field]) for field in fields),
                Cell(text=f"{row['epochs']}", key=float(row["epochs"])),
                Cell(text=f"{row['parameters']:,.0f}", key=float(row["parameters"])),
                Cell(text=show_time(row["duration_s"]), key=float(row["duration_s"])),
            )
        )
    return Table(
        caption=(
            f"The best {plural(len(rows), 'complete trial')}; each value is {metric.trial_value}. Click a heading to "
            f"sort.{f' All of them have {shared}.' if shared else ''}"
        ),
        headings=("trial", metric.label, *fields, "epochs trained", "parameters", "time"),
        rows=tuple(rows),
        sorts=True,
    )


def stage_table(facts: StudyFacts, times: Sequence[StageTime]) -> Table:
    """A row for each stage: number of trials by state, best value, time."""
    rows = []
    has_cuts = any(stage.snapshot.out_of_time for stage in facts.all_stages)
    has_skipped = any(stage.snapshot.skipped for stage in facts.all_stages)
    for stage, time in zip(facts.all_stages, times, strict=True):
        snapshot = stage.snapshot
        counts = [snapshot.planned, snapshot.complete, snapshot.pruned, snapshot.failed, snapshot.infeasible]
        if has_cuts:
            counts.insert(3, snapshot.out_of_time)
        if has_skipped:
            counts.append(snapshot.skipped)
        sampler = "same seeds for all" if stage.pinned.is_final else f"{stage.pinned.sampler}, {stage.pinned.pruner}"
        rows.append(
            (
                text_cell(stage.name),
                text_cell(sampler),
                Cell(
                    text=_searched(stage.pinned, "epochs") or str(stage.pinned.epochs), key=float(stage.pinned.epochs)
                ),
                *(count_cell(count) for count in counts),
                Cell(text=facts.metric.show(snapshot.best), key=snapshot.best or 0.0),
                Cell(text=show_time(time.worker_s), key=time.worker_s),
                Cell(text=show_time(time.wall_s), key=time.wall_s),
            )
        )
    return Table(
        caption=(
            "Number of trials by state in each stage. Worker time is added up over workers that ran in parallel; wall "
            "time is not."
        ),
        headings=(
            "stage", "sampler, pruner", "epochs", "trials", "complete", "pruned",
            *(["out of time"] if has_cuts else []), "failed", "infeasible", *(["skipped"] if has_skipped else []),
            facts.metric.best_label, "worker time", "wall time",
        ),
        rows=tuple(rows),
    )  # fmt: skip


def time_table(times: Sequence[StageTime]) -> Table | None:
    """Worker time of each stage by purpose; None before the first training."""
    if not any(time.worker_s for time in times):
        return None
    rows = []
    for time in times:
        parts = (time.training_s, time.validation_s, time.checkpoint_s, time.service_s, time.other_s)
        cells = (Cell(text=f"{show_time(part)} ({part / (time.worker_s or 1):.0%})", key=part) for part in parts)
        rows.append((text_cell(time.stage), *cells))
    return Table(
        caption=(
            "Worker time by purpose. Database: recording epochs and asking the pruner. "
            "The command sieve profile divides the training time further."
        ),
        headings=("stage", "training", "validation", "checkpoints", "database", "preparing and ending"),
        rows=tuple(rows),
    )


def finalist_table(facts: StudyFacts) -> Table | None:
    """The finalists, best mean first, and whether these seeds separate them from the champion."""
    if not facts.finalists:
        return None
    tied, metric = ties(facts.finalists), facts.metric
    texts = {field: different_texts(one.config.get(field, "-") for one in facts.finalists) for field in facts.searched}
    differing = [field for field in facts.searched if len(texts[field]) > 1]
    champion = facts.record.champion
    combination = champion.combination if champion else None
    combined = f" The registered classifier is {combination.line()}." if combination else ""
    rows = []
    for rank, finalist in enumerate(facts.finalists):
        standing = "champion" if rank == 0 else "tie" if finalist.index in tied else "behind"
        rows.append(
            (
                text_cell(f"finalist {finalist.index + 1}"),
                text_cell(standing),
                Cell(text=metric.show(finalist.mean), key=finalist.mean),
                text_cell(metric.show_interval(finalist.interval)),
                text_cell(", ".join(metric.show(value) for value in finalist.values.values())),
                *(value_cell(finalist.config.get(field, "-"), texts[field]) for field in differing),
            )
        )
    return Table(
        caption=(
            "The finalist with the best mean over seeds is the champion. A tie: the 95 % interval of the paired "
            "difference to the champion includes zero." + combined
        ),
        headings=("finalist", "standing", f"mean {metric.label}", "95 % interval", "seed by seed", *differing),
        rows=tuple(rows),
    )


def look_table(facts: StudyFacts) -> Table | None:
    """Every look at the test images, with those that crashed and those of other studies; None before the first."""
    rows = []
    for look in sorted((*facts.looks, *facts.looks_by_others), key=lambda look: look.opened_at):
        result = percent(look.result.accuracy, 2) if look.result else "no result: it crashed or is still running"
        rows.append(
            (
                text_cell(look.study),
                count_cell(look.number),
                text_cell(show_when(look.opened_at)),
                text_cell(look.by),
                text_cell(look.reason),
                text_cell(look.model_uri),
                text_cell(result),
            )
        )
    if not rows:
        return None
    return Table(
        caption=(
            "Every look at these test images, by this study or another one. If you chose a model because of an earlier "
            "look, the accuracy of a later look is no longer an unbiased estimate."
        ),
        headings=("study", "look", "when", "by", "reason", "model", "accuracy"),
        rows=tuple(rows),
    )


def command_table(facts: StudyFacts) -> Table | None:
    """Every command that ran the study; None for a single command, which the page shows by itself."""
    if len(facts.commands) < 2:
        return None
    rows = [
        (
            text_cell(show_when(entry.started_at)),
            text_cell(entry.by),
            text_cell(entry.command),
            text_cell((entry.commit or "-")[:12]),
        )
        for entry in facts.commands
    ]
    return Table(
        caption="The search was interrupted and resumed. These are all commands that ran it.",
        headings=("when", "by", "command", "commit"),
        rows=tuple(rows),
    )
