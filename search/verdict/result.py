"""A run's result, for programs and for people: what won, by how much, how sure, and what it cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from search.durations import show_duration
from search.stage.pareto import front_json
from search.stage.snapshot import stage_snapshot, stage_trials
from search.store.records import StageRecord, read_stages, read_study
from search.store.seal import describe_look, looks
from search.store.states import ENDED
from search.store.storage import Storage
from search.verdict.ablation_table import print_ablation

COUNTS = tuple(status.replace(" ", "_") for status in ENDED)
"""The counts of a stage's trials by how they ended; together they are all that were planned."""


def result_json(storage: Storage, name: str, root: Path, *, wall_s: float) -> dict[str, Any]:
    """What `search.run --json` prints, from the database and, of an ablation, from its trials' files."""
    from search.verdict.ablation import read_ablation

    record = read_study(storage, name)
    assert record is not None
    pinned = read_stages(storage, name)
    stages = [_stage_json(storage, stage) for stage in pinned]
    ablation = read_ablation(record, pinned[-1], stage_trials(storage, pinned[-1]), root) if pinned else None
    taken = [look for look in looks(storage, name) if look.result]
    return {
        "study": name,
        "stages": stages,
        "warm_start": record.definition.get("warm_start"),
        "champion": record.champion,
        "ablation": ablation and ablation.to_json(),
        "test": taken[-1].result if taken else None,
        "data": record.data,
        "wall_s": round(wall_s, 3),
    }


def _stage_json(storage: Storage, record: StageRecord) -> dict[str, Any]:
    """A stage's counts; with a second aim, the trials that no other beats in both as well."""
    counts, against = asdict(stage_snapshot(storage, record)), record.pinned.get("against")
    if against is None:
        return counts
    maximize = record.pinned["direction"] == "maximize"
    return {**counts, "front": front_json(stage_trials(storage, record), against, maximize=maximize)}


def print_result(result: dict[str, Any], console: Console) -> None:
    """Print what `search.run --json` holds."""
    table = Table(title=f"{result['study']} in {show_duration(result['wall_s'])}", title_justify="left")
    has_cuts = any(stage["out_of_time"] for stage in result["stages"])  # Without --budget there are none.
    shown = [key for key in COUNTS if key != "out_of_time" or has_cuts]
    for heading in ("stage", *shown, "best"):
        table.add_column(heading.replace("_", " "), justify="left" if heading == "stage" else "right")
    for stage in result["stages"]:
        counts = (str(stage[key]) for key in shown)
        best = "-" if stage["best"] is None else f"{stage['best']:.4f}"
        table.add_row(stage["name"], *counts, best)
    console.print(table)
    for stage in result["stages"]:
        _print_front(stage, console)
    if result["ablation"]:
        print_ablation(result["ablation"], console)
    champion, last = result["champion"], "ablation" if result["ablation"] else "confirm"
    console.print(f"champion   {champion['model_uri']} ({last} #{champion['trial']})")
    for field, value in champion["searched"].items():
        console.print(f"           {field} {value:.4g}" if isinstance(value, float) else f"           {field} {value}")
    runs = len(champion["val_accuracy_seeds"])
    accuracy = _with_interval(champion["val_accuracy"], champion["val_accuracy_interval"])
    if "refit_images" in champion:
        console.print(
            f"validation {accuracy}, mean of {runs} folds; then trained on all {champion['refit_images']:,} images"
        )
    else:
        console.print(f"validation {accuracy}, mean of {runs} seeds")
    if champion["ties"]:
        console.print(f"           not told apart from {_tied(result)} by these seeds", soft_wrap=True)
    test = result["test"]
    if test is None:
        command = f"python -m search.evaluate --study {result['study']}"
        console.print(f"test       sealed; open it once with {command}", soft_wrap=True)
    else:
        accuracy = _with_interval(test["accuracy"], test["interval"])
        console.print(
            f"test       {accuracy}, macro-F1 {test['macro_f1']:.4f}, {test['images']:,} images, {describe_look(test)}",
            soft_wrap=True,
        )


def print_report(path: Path, console: Console) -> None:
    """Print where the report lies, as short as it can be written from here."""
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    console.print(f"report     {shown}", soft_wrap=True, markup=False, highlight=False)


def _tied(result: dict[str, Any]) -> str:
    ties = result["champion"]["ties"]
    if not result["ablation"]:
        return f"finalist {', '.join(str(index + 1) for index in ties)}"
    return "; ".join(cell["name"] for cell in result["ablation"]["cells"] if cell["index"] in ties)


def _print_front(stage: dict[str, Any], console: Console) -> None:
    """The trials that no other beats in both aims, where the stage has two."""
    label = "front"
    for trial in stage.get("front", ()):
        number, value, (cost, amount) = trial["trial"], trial["value"], list(trial.items())[-1]
        console.print(f"{label:10} {value:.4f} for {amount:,} {cost} ({stage['name']} #{number})", highlight=False)
        label = ""


def _with_interval(value: float, interval: list[float] | None) -> str:
    return f"{value:.4f}" if interval is None else f"{value:.4f} (95 % {interval[0]:.4f} to {interval[1]:.4f})"
