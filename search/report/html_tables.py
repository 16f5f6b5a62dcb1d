"""The page's tables: headings, and cells that know how to sort themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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
from search.report.metric import Metric, percent, show_time, show_value
from search.report.spent import StageTime
from search.stage.pinned import PinnedStage
from search.stage.snapshot import rank_trials
from search.store.look_result import LookResult
from search.verdict.champion import ties
from search.verdict.scores import show_mistake

BEST_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is shown, and the number or text that it sorts by."""

    text: str
    key: float | str

    @property
    def is_number(self) -> bool:
        return not isinstance(self.key, str)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under headings; with a caption that says what they are."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sorts: bool = False
    """Whether a click on a heading sorts it."""

    def is_number(self, column: int) -> bool:
        return all(row[column].is_number for row in self.rows)


def champion_table(facts: StudyFacts) -> Table | None:
    """The champion's searched fields beside where the search started and what it tried; None without a champion."""
    if facts.record.champion is None:
        return None
    start = facts.record.definition["config"]
    rows = [
        (_text(field), _value(value), _value(start.get(field, "-")), _text(_tried(facts, field)))
        for field, value in facts.record.champion.searched.items()
    ]
    return Table(
        caption="The champion's configuration, where it was searched; every other field is as the study set it.",
        headings=("hyperparameter", "champion", "start", "searched"),
        rows=tuple(rows),
    )


def _tried(facts: StudyFacts, field: str) -> str:
    """Ranges and choices of a field, stage by stage; of a stage with several bases, what all of them span."""
    ranges: dict[str, None] = {}
    for stage in facts.stages:
        if searched := _searched(stage.pinned, field):
            ranges[searched] = None
    if facts.confirmation is not None and facts.confirmation.pinned.cells:
        values = dict.fromkeys(show_value(base.get(field, "-")) for base in facts.confirmation.pinned.bases)
        ranges |= {", ".join(values): None} if len(values) > 1 else {}
    return ", then ".join(ranges)


def _searched(pinned: PinnedStage, field: str) -> str:
    """What a stage may choose from, over all its bases; empty for a field that it does not vary."""
    stored = [entry.distribution for space in pinned.spaces for entry in space if entry.name == field]
    return _range([json_to_distribution(text) for text in stored]) if stored else ""


def _range(distributions: Sequence[BaseDistribution]) -> str:
    choices: dict[str, None] = {}
    numbers: list[float] = []
    for distribution in distributions:
        if isinstance(distribution, CategoricalDistribution):
            choices |= {show_value(choice): None for choice in distribution.choices}
        else:
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            numbers += [distribution.low, distribution.high]
    return ", ".join(choices) if choices else f"{show_value(min(numbers))} to {show_value(max(numbers))}"


def best_table(stages: Sequence[StageFacts], metric: Metric) -> Table | None:
    """The best complete trials of these stages; None while there is none."""
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
    values = {
        field: {show_value(trial.user_attrs[names.CONFIG].get(field, "-")) for _, trial in ranked} for field in searched
    }
    fields = [field for field in searched if len(values[field]) > 1 or len(ranked) == 1]
    shared = ", ".join(f"{field} {values[field].pop()}" for field in searched if field not in fields)
    rows = []
    for stage, trial in ranked:
        row, config = stage.trials.loc[trial.number], trial.user_attrs[names.CONFIG]
        rows.append(
            (
                _text(f"{stage.name} #{trial.number}"),
                Cell(text=metric.show(trial.value), key=float(trial.value or 0.0)),
                *(_value(config.get(field, "-")) for field in fields),
                Cell(text=f"{row['epochs']}", key=float(row["epochs"])),
                Cell(text=f"{row['parameters']:,.0f}", key=float(row["parameters"])),
                Cell(text=show_time(row["duration_s"]), key=float(row["duration_s"])),
            )
        )
    return Table(
        caption=(
            f"Best {len(rows)} complete trials, each a single run. Click a heading to sort."
            f"{f' All of them have {shared}.' if shared else ''}"
        ),
        headings=("trial", metric.label, *fields, "epochs trained", "parameters", "time"),
        rows=tuple(rows),
        sorts=True,
    )


def stage_table(facts: StudyFacts, times: Sequence[StageTime]) -> Table:
    """A row per stage: trials by what became of them, best, time."""
    rows = []
    has_cuts = any(stage.snapshot.out_of_time for stage in facts.all_stages)
    for stage, time in zip(facts.all_stages, times, strict=True):
        snapshot = stage.snapshot
        counts = [snapshot.planned, snapshot.complete, snapshot.pruned, snapshot.failed, snapshot.infeasible]
        if has_cuts:
            counts.insert(3, snapshot.out_of_time)
        sampler = "same seeds for all" if stage.pinned.is_final else f"{stage.pinned.sampler}, {stage.pinned.pruner}"
        rows.append(
            (
                _text(stage.name),
                _text(sampler),
                Cell(
                    text=_searched(stage.pinned, "epochs") or str(stage.pinned.epochs), key=float(stage.pinned.epochs)
                ),
                *(_count(count) for count in counts),
                Cell(text=facts.metric.show(snapshot.best), key=snapshot.best or 0.0),
                Cell(text=show_time(time.worker_s), key=time.worker_s),
                Cell(text=show_time(time.wall_s), key=time.wall_s),
            )
        )
    return Table(
        caption="Trials of every stage. Worker time adds up over workers that ran side by side; wall time does not.",
        headings=(
            "stage", "sampler, pruner", "epochs", "trials", "complete", "pruned",
            *(["out of time"] if has_cuts else []), "failed", "infeasible",
            "best single run", "worker time", "wall time",
        ),
        rows=tuple(rows),
    )  # fmt: skip


def time_table(times: Sequence[StageTime]) -> Table | None:
    """Worker time of each stage by component; None while nothing was trained."""
    if not any(time.worker_s for time in times):
        return None
    rows = []
    for time in times:
        parts = (time.training_s, time.validation_s, time.checkpoint_s, time.service_s, time.other_s)
        cells = (Cell(text=f"{show_time(part)} ({part / (time.worker_s or 1):.0%})", key=part) for part in parts)
        rows.append((_text(time.stage), *cells))
    return Table(
        caption=(
            "Worker time by component. Database: telling it of epochs and asking the pruner. "
            "The command search.profile divides the training further."
        ),
        headings=("stage", "training", "validation", "checkpoints", "database", "preparing and ending"),
        rows=tuple(rows),
    )


def finalist_table(facts: StudyFacts) -> Table | None:
    """The finalists, best mean first, and who is tied with the champion."""
    if not facts.finalists:
        return None
    tied, metric = ties(facts.finalists), facts.metric
    differing = [
        field for field in facts.searched if len({str(finalist.config.get(field)) for finalist in facts.finalists}) > 1
    ]
    rows = []
    for rank, finalist in enumerate(facts.finalists):
        standing = "champion" if rank == 0 else "tie" if finalist.index in tied else "behind"
        rows.append(
            (
                _text(f"finalist {finalist.index + 1}"),
                _text(standing),
                Cell(text=metric.show(finalist.mean), key=finalist.mean),
                _text(metric.show_interval(finalist.interval)),
                _text(", ".join(metric.show(value) for value in finalist.values.values())),
                *(_value(finalist.config.get(field, "-")) for field in differing),
            )
        )
    return Table(
        caption="Mean over seeds decides. A tie is a finalist whose paired difference to the champion could be zero.",
        headings=("finalist", "standing", f"mean {metric.label}", "95 % interval", "seed by seed", *differing),
        rows=tuple(rows),
    )


def look_table(facts: StudyFacts) -> Table | None:
    """Every look at the test images, also those that came to nothing, and those of other studies."""
    rows = []
    for look in sorted((*facts.looks, *facts.looks_by_others), key=lambda look: look.opened_at):
        result = percent(look.result.accuracy, 2) if look.result else "no result: it crashed or still runs"
        rows.append(
            (
                _text(look.study),
                _count(look.number),
                _text(_when(look.opened_at)),
                _text(look.by),
                _text(look.reason),
                _text(look.model_uri),
                _text(result),
            )
        )
    if not rows:
        return None
    return Table(
        caption=(
            "A figure from a second look is no longer an honest estimate for what was chosen because of the first, "
            "whichever study it was of."
        ),
        headings=("study", "look", "when", "by", "reason", "model", "accuracy"),
        rows=tuple(rows),
    )


def command_table(facts: StudyFacts) -> Table | None:
    """Every command that worked on the study; None while it was a single one, which the page shows by itself."""
    if len(facts.commands) < 2:
        return None
    rows = [
        (_text(_when(entry.started_at)), _text(entry.by), _text(entry.command), _text((entry.commit or "-")[:12]))
        for entry in facts.commands
    ]
    return Table(
        caption="The search was stopped and gone on with: every command that worked on it.",
        headings=("when", "by", "command", "commit"),
        rows=tuple(rows),
    )


def class_table(test: LookResult) -> Table:
    """Scores per class of a look at the test set."""
    rows = []
    for label, entry in enumerate(test.per_class):
        rows.append(
            (
                _text(entry.name),
                _count(entry.support),
                *(Cell(text=percent(value), key=value) for value in (entry.recall, entry.precision, entry.f1)),
                _text(show_mistake(test, label)),
            )
        )
    return Table(
        caption="Test images by class. Recall is the class's own accuracy. Click a heading to sort.",
        headings=("class", "images", "recall", "precision", "F1", "most often taken for"),
        rows=tuple(rows),
        sorts=True,
    )


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _text(text: str) -> Cell:
    return Cell(text=text, key=text)


def _count(count: int) -> Cell:
    return Cell(text=f"{count:,}", key=float(count))


def _value(value: Any) -> Cell:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(text=show_value(value), key=float(value) if is_number else str(value))
