"""Write the tables of docs/benchmarks.md from the stored results.

python -m benchmarks.page_tables
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.champion_table import COLUMNS, SINGLE, START, mean_of, part_rows
from benchmarks.gpu.table import gpu_sections
from benchmarks.results import FOLDER
from data.text import plural

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
Result = Mapping[str, Any]


def main() -> None:
    """Write the page's tables anew from the stored results."""
    text = PAGE.read_text()
    PAGE.write_text(with_tables(text, stored_results()))


def stored_results() -> dict[str, Result]:
    """Read every stored result, by its file's name without `.json`."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def with_tables(page: str, results: Mapping[str, Result]) -> str:
    """Return the page with every table between two marks written anew. Raises KeyError for an unknown mark."""

    def replace(match: re.Match[str]) -> str:
        return f"{match['begin']}\n{TABLES[match['name']](results)}\n{match['end']}"

    marks = r"(?P<begin><!-- (?P<name>[\w-]+) -->).*?(?P<end><!-- /(?P=name) -->)"
    return re.sub(marks, replace, page, flags=re.DOTALL)


def throughput_table(results: Mapping[str, Result]) -> str:
    """Return a Markdown table of the contenders for every measured workload."""
    measured = [result for name, result in results.items() if name.startswith("throughput-")]
    return "\n\n".join(map(_throughput, measured)) or "Not measured yet."


def _throughput(result: Result) -> str:
    heading = f"**{result['workload']}**: {result['title']}; {_images(result['images'])}. {_measured(result)}"
    rows = []
    for name, figure in result["contenders"].items():
        share, difference = figure["share_of_limit"], result["val_accuracy_difference"].get(name)
        rows.append(
            (
                name,
                f"{figure['trials_per_hour']:,.0f}",
                f"{figure['trials_per_hour_warm']:,.0f}",
                f"{result['ratio'][name]:.1f}" if name in result["ratio"] else "",
                f"{figure['finished_trials']}",
                f"{figure['images_per_s']:,.0f}",
                f"{share:.0%}" if share is not None else "",
                f"{figure['cpu_s_per_trial']:.0f}",
                f"{figure['peak_rss_mib']:,.0f}",
                f"{figure['val_accuracy']:.4f}",
                _difference(difference) if difference else "",
            )
        )
    columns = (
        "contender", "trials/hour", "warm", "ratio of ours", "finished trials", "images/s", "share of limit",
        "CPU s per trial", "memory, MiB", "accuracy", "difference from A, points (pairs)",
    )  # fmt: skip
    gate = "passed" if result["gate"] else "not passed"
    return f"{heading}\n\n{_table(columns, rows)}\n\nValidity gate: {gate}."


def service_cost_table(results: Mapping[str, Result]) -> str:
    """Return a Markdown table of the service's cost per trial, by storage and size of the study."""
    measured = [result for name, result in results.items() if name.startswith("service-cost-")]
    rows = [
        (
            result["storage"],
            f"{cost['trials']:,}",
            f"{cost['ms_per_trial']:.0f}",
            f"{cost['worker_cpu_ms_per_trial']:.0f}",
            f"{cost['supervisor_cpu_ms_per_trial']:.0f}",
            f"{cost['filling_ms_per_trial']:.1f}",
        )
        for result in measured
        for cost in result["costs"]
    ]
    columns = (
        "storage", "trials in the study", "ms per trial", "worker CPU, ms", "supervisor CPU, ms", "queueing, ms",
    )  # fmt: skip
    return f"{_table(columns, rows)}\n\n{_measured(measured[0])}" if measured else "Not measured yet."


def time_to_accuracy_table(results: Mapping[str, Result]) -> str:
    """Return a Markdown table for each table of learning curves: the epochs that strategies need to the target."""
    measured = [results[name] for name in sorted(results, reverse=True) if name.startswith("time-to-accuracy-")]
    return "\n\n".join(map(_strategies, measured)) or "Not measured yet."


def _strategies(result: Result) -> str:
    rows = []
    for name, by_strategy in result["strategies"].items():
        cells = []
        for figure in by_strategy["workers"].values():
            low, high = figure["interval"]
            cells.append(f"{figure['median_epochs']:.0f} ({low:.0f} to {high:.0f}), {figure['reached']:.0%}")
        rows.append((f"**{name}**" if name == result["default"] else name, *cells))
    return (
        f"Table `{result['table']}`: target {result['target']:.4f}, which {result['configurations_at_target']} of "
        f"{result['configurations']} configurations reach; {result['seeds']} seeds. Median epochs to the target with "
        "its 95 % bootstrap interval, and the share of runs that reach it within "
        f"{result['budget_epochs']} epochs.\n\n"
        f"{_table(('strategy', '1 worker', '4 workers', '8 workers'), rows)}"
    )


def champion_parts_table(results: Mapping[str, Result]) -> str:
    """Return a Markdown table for each data set of what each part of a champion brings."""
    measured = [results[name] for name in sorted(results, reverse=True) if name.startswith("champion-parts-")]
    return "\n\n".join(f"{_champion_start(result)}\n\n{_champion_rows(result)}" for result in measured)


def _champion_start(result: Result) -> str:
    start = result["start"]
    images = f"{result['images']:,} images" if result["images"] else "all images"
    return (
        f"`{result['data']}`, {images}, {start['image_size']} px, {start['epochs']} epochs: the start reaches "
        f"{mean_of(result['runs'], START, 'accuracy'):.4f}, with a calibration error of "
        f"{100 * mean_of(result['runs'], SINGLE, 'calibration_error'):.1f} points. {_measured(result)}"
    )


def _champion_rows(result: Result) -> str:
    return _table(COLUMNS, part_rows(result["runs"]))


def regret_table(results: Mapping[str, Result]) -> str:
    """Return a Markdown table for each case of what staged and other searches found in equal time."""
    measured = [results[name] for name in sorted(results) if name.startswith("regret-on-trainings-")]
    return "\n\n".join(map(_regret, measured)) or "Not measured yet."


def _regret(result: Result) -> str:
    rows = [
        (
            way,
            f"{figures['mean']:.4f}",
            f"{100 * figures['mean_regret']:.2f}",
            _ahead(figures) if way != "staged" else "",
            f"{_mean_of_searches(result, way, 'trials'):.0f}",
            f"{_mean_of_searches(result, way, 'epochs'):,.0f}",
            f"{_mean_of_searches(result, way, 'confirmation_seeds'):.1f}",
            f"{_mean_of_searches(result, way, 'confirmation_epochs'):.1f}",
        )
        for way, figures in result["ways"].items()
    ]
    columns = (
        "search", "champion", "regret, points", "staged ahead, points", "trials", "epochs in all", "champion's runs",
        "epochs of a run",
    )  # fmt: skip
    heading = f"`{result['case']}`: {result['budget_s']:.0f} s for each search, {result['seeds']} seeds."
    return f"{heading} {_measured(result)}\n\n{_table(columns, rows)}"


def _ahead(figures: Mapping[str, Any]) -> str:
    text = f"{100 * figures['staged_ahead']:+.2f}"
    if figures["staged_ahead_interval"] is None:
        return text
    low, high = figures["staged_ahead_interval"]
    return f"{text} ({100 * low:+.2f} to {100 * high:+.2f})"


def _mean_of_searches(result: Result, way: str, figure: str) -> float:
    return fmean(search[figure] for search in result["searches"] if search["way"] == way)


def gpu_table(results: Mapping[str, Result]) -> str:
    """Return the Markdown tables of the GPU benchmark, and a line for each part that failed."""
    result = results.get("gpu")
    if result is None:
        return "Not measured yet."
    failed = [f"{name}: {part['error']}" for name, part in result["parts"].items() if part["error"]]
    tables = [_table(columns, rows) for columns, rows in gpu_sections(result)]
    return "\n\n".join([_measured(result), *tables, *(f"Not measured: {line}." for line in failed)])


def random_faults_table(results: Mapping[str, Result]) -> str:
    """Return Markdown tables of the searches under random faults: what came of them, and the faults by kind."""
    result = results.get("random-faults")
    if result is None:
        return "Not measured yet."
    runs = {title: result[kind] for kind, title in (("sqlite", "SQLite"), ("postgres", "Postgres")) if kind in result}
    outcomes = [
        (
            title,
            *(f"{run[column]:,}" for column in ("seeds", "faults", "processes_killed", "trials", "losses")),
            *(f"{run[column]:,}" for column in ("lost", "twice", "left_running", "inexact_epochs", "champions")),
            f"{run['cpu_s_per_seed']:.1f}",
        )
        for title, run in runs.items()
    ]
    columns = (
        "storage", "searches", "faults", "processes killed", "trials", "losses of trials, done again", "lost for good",
        "done twice", "left running", "epochs not exact", "champions that load", "CPU s per search",
    )  # fmt: skip
    kinds = {kind: None for run in runs.values() for kind in run["faults_by_kind"]}
    faults = [(kind, *(f"{run['faults_by_kind'].get(kind, 0):,}" for run in runs.values())) for kind in kinds]
    return f"{_table(columns, outcomes)}\n\n{_table(('fault', *runs), faults)}\n\n{_measured(result)}"


TABLES: dict[str, Callable[[Mapping[str, Result]], str]] = {
    "throughput": throughput_table,
    "gpu": gpu_table,
    "champion-parts": champion_parts_table,
    "service-cost": service_cost_table,
    "time-to-accuracy": time_to_accuracy_table,
    "regret": regret_table,
    "random-faults": random_faults_table,
}


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    alignment = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, alignment, *rows))


def _images(counts: Mapping[str, int]) -> str:
    return f"{counts['train']:,} images for training, {counts['val']:,} for validation"


def _measured(result: Result) -> str:
    machine = result["machine"]
    hardware = ", ".join(machine["gpus"]) or f"{plural(machine['cores'], 'core')} of {machine['cpu']}"
    return f"Measured on {result['measured_on']}: {hardware}, torch {machine['versions']['torch']}."


def _difference(difference: Mapping[str, float]) -> str:
    return f"{100 * difference['mean']:+.1f} ± {100 * difference['standard_error']:.1f} ({difference['pairs']})"


if __name__ == "__main__":
    main()
