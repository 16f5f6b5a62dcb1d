"""A finished run for people: what won, by how much, how sure, and what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from search.ablation_table import print_ablation
from search.progress import duration

COUNTS = ("complete", "pruned", "infeasible", "failed", "skipped")
"""What became of a stage's trials: together all that were planned."""


def print_result(result: dict[str, Any], console: Console) -> None:
    """Print what `search.run --json` holds."""
    table = Table(title=f"{result['study']} in {duration(result['wall_s'])}", title_justify="left")
    for heading in ("stage", *COUNTS, "best"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in result["stages"]:
        counts = (str(stage[key]) for key in COUNTS)
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
            f"test       {accuracy}, macro-F1 {test['macro_f1']:.4f}, {test['images']:,} images, look {test['look']}"
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
