"""A run's result, for programs and for people: champion, scores with intervals, and the trials it took."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from models.metric_names import metric_label
from search.durations import show_duration
from search.stage.pareto import FrontTrial, front_trials
from search.stage.snapshot import StageSnapshot, early_ends, stage_snapshot, stage_trials
from search.store.champion_record import ChampionRecord
from search.store.find import find_champion, find_study
from search.store.look_result import LookResult
from search.store.records import StageRecord, read_stages
from search.store.seal import Look, describe_look, describe_unfinished, looks
from search.store.states import ENDED
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.warm_start_record import WarmStart

if TYPE_CHECKING:
    from search.verdict.ablation_result import AblationResult

COUNTS = tuple(status.replace(" ", "_") for status in ENDED)
"""The states in which a trial ends. In a finished stage their counts add up to the planned trials."""


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """A stage's trials, counted by state; with a second aim, its front too."""

    snapshot: StageSnapshot
    front: tuple[FrontTrial, ...] | None
    """The trials that no other beats in both aims; None for a stage with a single aim."""

    def to_json(self) -> dict[str, Any]:
        """The object that `search.run --json` holds for the stage."""
        counts = asdict(self.snapshot)
        return counts if self.front is None else {**counts, "front": [trial.to_json() for trial in self.front]}


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """The result of a study that has named its champion."""

    study: str
    stages: tuple[StageResult, ...]
    warm_start: WarmStart | None
    """The trials that the first stage took over from an earlier study, if any."""
    champion: ChampionRecord
    ablation: AblationResult | None
    """The ablation that the study ended with; None after a confirmation."""
    test: LookResult | None
    """The result of the last look that finished; None while the test set is sealed, or if every look crashed."""
    data: StudyData
    wall_s: float
    """Seconds from the command to the result, to the millisecond."""
    looks: tuple[Look, ...] = ()
    """Every look at the test set, also those without a result."""

    def to_json(self) -> dict[str, Any]:
        """The object that `search.run --json` prints, without the report's path."""
        return {
            "study": self.study,
            "stages": [stage.to_json() for stage in self.stages],
            "warm_start": self.warm_start and self.warm_start.to_json(),
            "champion": self.champion.to_json(),
            "ablation": self.ablation and self.ablation.to_json(),
            "test": self.test and self.test.to_json(),
            "data": self.data.to_json(),
            "wall_s": self.wall_s,
        }


def read_result(storage: Storage, name: str, root: Path, *, wall_s: float) -> StudyResult:
    """Read a finished study from the database and, for an ablation, from the files of its trials below `root`."""
    from search.verdict.ablation_result import read_ablation  # Here: it needs SciPy, which takes seconds to import.

    record = find_study(storage, name)
    pinned = read_stages(storage, name)
    every_look = tuple(looks(storage, name))
    taken = [look for look in every_look if look.result]
    return StudyResult(
        study=name,
        stages=tuple(_read_stage(storage, stage) for stage in pinned),
        warm_start=record.definition.warm_start,
        champion=find_champion(record),
        ablation=read_ablation(record, pinned[-1], stage_trials(storage, pinned[-1]), root) if pinned else None,
        test=taken[-1].result if taken else None,
        data=record.data,
        wall_s=round(wall_s, 3),
        looks=every_look,
    )


def _read_stage(storage: Storage, record: StageRecord) -> StageResult:
    pinned, front = record.pinned, None
    if pinned.against is not None:
        maximize = pinned.direction == "maximize"
        front = front_trials(stage_trials(storage, record), pinned.against, maximize=maximize)
    return StageResult(snapshot=stage_snapshot(storage, record), front=front)


def print_result(result: StudyResult, console: Console, open_seal: str) -> None:
    """Print a study's result for people; `open_seal` is the command that measures its champion on the test set."""
    from search.verdict.ablation_table import print_ablation

    console.print(_stage_table(result))
    for line in early_ends([stage.snapshot for stage in result.stages]):
        console.print(line, soft_wrap=True, highlight=False)
    for stage in result.stages:
        _print_front(stage, console)
    if result.ablation:
        print_ablation(result.ablation, console)
    _print_champion(result, console)
    test = result.test
    if test is None:
        state = describe_unfinished(result.looks)
        command = f"look again with {open_seal} --again REASON" if result.looks else f"open it once with {open_seal}"
        console.print(f"test       {state}; {command}", soft_wrap=True)
    else:
        accuracy = _with_interval(test.accuracy, test.interval)
        console.print(
            f"test       {accuracy}, macro-F1 {test.macro_f1:.4f}, {test.images:,} images, {describe_look(test)}",
            soft_wrap=True,
        )


def _stage_table(result: StudyResult) -> Table:
    table = Table(title=f"{result.study} in {show_duration(result.wall_s)}", title_justify="left")
    has_cuts = any(stage.snapshot.out_of_time for stage in result.stages)  # Without --budget there are none.
    shown = [key for key in COUNTS if key != "out_of_time" or has_cuts]
    for heading in ("stage", *shown, "best"):
        table.add_column(heading.replace("_", " "), justify="left" if heading == "stage" else "right")
    for stage in result.stages:
        found = stage.snapshot
        counts = (getattr(found, key) for key in shown)
        table.add_row(found.name, *map(str, counts), "-" if found.best is None else f"{found.best:.4f}")
    return table


def _print_champion(result: StudyResult, console: Console) -> None:
    champion, last = result.champion, "ablation" if result.ablation else "confirm"
    console.print(f"champion   {champion.model_uri} ({last} #{champion.trial})")
    for field, value in champion.searched.items():
        console.print(f"           {field} {value:.4g}" if isinstance(value, float) else f"           {field} {value}")
    if (better := _better_trial(result)) is not None:
        console.print(f"           {better}", soft_wrap=True)
    runs = len(champion.val_accuracy_seeds)
    accuracy = _with_interval(champion.val_accuracy, champion.val_accuracy_interval)
    if champion.refit_images is None:
        console.print(f"validation {accuracy}, mean of {runs} {'seed' if runs == 1 else 'seeds'}")
    else:
        images = f"{champion.refit_images:,} images"
        console.print(f"validation {accuracy}, mean of {runs} folds; then trained on all {images}")
    if champion.metric != "val_accuracy":
        value = _with_interval(champion.value, champion.value_interval)
        console.print(f"           {metric_label(champion.metric)} {value}, which was optimised", markup=False)
    if champion.combination:
        console.print(f"registered {champion.combination.line()}", soft_wrap=True, highlight=False)
    if champion.ties:
        console.print(f"           these seeds do not separate it from {_tied(result)}", soft_wrap=True)


def _better_trial(result: StudyResult) -> str | None:
    """A line about the best trial of the search if its value is better than the champion's mean."""
    sign = -1 if result.champion.metric == "val_loss" else 1
    found = [
        (sign * stage.snapshot.best, stage.snapshot) for stage in result.stages[:-1] if stage.snapshot.best is not None
    ]
    best, stage = max(found, key=lambda entry: entry[0], default=(None, None))
    if best is None or stage is None or best <= sign * result.champion.value:
        return None
    runs = "" if result.data.spec.folds else "a single run and "
    return (
        f"its mean {result.champion.metric} of {result.champion.value:.4f} is worse than the {abs(best):.4f} of "
        f"{stage.name} #{stage.best_trial}, which is {runs}the best of {stage.planned}"
    )


def print_report(path: Path, console: Console) -> None:
    """Print where the report lies: relative to the working folder if it is below it."""
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    console.print(f"report     {shown}", soft_wrap=True, markup=False, highlight=False)


def _tied(result: StudyResult) -> str:
    ties = result.champion.ties
    if result.ablation is None:
        return f"finalist{'s' if len(ties) > 1 else ''} {', '.join(str(index + 1) for index in ties)}"
    return "; ".join(cell.name for cell in result.ablation.cells if cell.runs.index in ties)


def _print_front(stage: StageResult, console: Console) -> None:
    label = "front"
    for trial in stage.front or ():
        amount, name = f"{trial.cost:,} {trial.against}", stage.snapshot.name
        console.print(f"{label:10} {trial.value:.4f} for {amount} ({name} #{trial.trial})", highlight=False)
        label = ""


def _with_interval(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.4f}" if interval is None else f"{value:.4f} (95 % {interval[0]:.4f} to {interval[1]:.4f})"
