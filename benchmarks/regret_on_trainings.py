"""What real searches find in equal time: staged, flat, and one epoch of many configurations, then the best of them.

    python -m benchmarks.regret_on_trainings --case digits [--data FOLDER] [--seeds 5] [--budget 90s]
        [--set FIELD=VALUE ...] [--cores 0,1] [--save] [--json]

Every search gets the same time (`--budget`) and one core, so that as many run side by side as there are cores. The
value of a search is its champion's mean on fresh seeds, on validation images; the test set stays sealed. The regret is
the distance from the best search of the case.

- `cifar10`: 5,000 images at 32 px, the study `cifar10`; `--data` is a folder of CIFAR-10. 5 minutes each.
- `hymenoptera`: heads on a frozen backbone, five folds; `--set backbone=NAME --set weights=FILE`. 2 minutes each.
- `digits`: the study `quickstart`. 90 seconds each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any

import numpy as np

from benchmarks.equal_time import CASES, WAYS
from benchmarks.measured import run_measured
from benchmarks.results import write_result
from models.values import parse_assignment
from search import names
from search.cli import CommandParser, main_guard
from search.durations import parse_duration
from search.stage.snapshot import take_snapshot
from search.store.find import find_champion, find_study
from search.store.storage import open_storage
from search.terminal import print_json, say

RESAMPLED = 2_000
"""Bootstrap samples of the seeds."""
_STUDY_FILE = """from benchmarks.equal_time import study_of

STUDY = study_of({case!r}, {way!r}, {seed!r}, {fixed!r})
"""
_PINNED = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"
"""Runs a command on one core only; what it starts stays there too."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """One search that has ended."""

    way: str
    seed: int
    value: float
    """Mean of the study's metric over the champion's runs."""
    best_trial: float
    """The best value of a single trial of the search."""
    trials: int
    """Number of complete trials of the search."""
    epochs: int
    """Epochs that the search and the confirmation trained."""
    wall_s: float


def run_search(case: str, way: str, seed: int, options: argparse.Namespace, scratch: Path, core: int) -> Search:
    """Run one search on one core. Raises SieveError if it fails."""
    home = scratch / f"{list(WAYS).index(way)}-{seed}"
    home.mkdir(parents=True)
    fixed = dict(parse_assignment(text) for text in options.set)
    (home / "study.py").write_text(_STUDY_FILE.format(case=case, way=way, seed=seed, fixed=fixed))
    command = [
        sys.executable, "-c", _PINNED, str(core), sys.executable, "-m", "search.run", "--study", str(home / "study.py"),
        "--home", str(home), "--devices", "cpu", "--workers", "1", "--budget", options.budget,
        *(["--data", options.data] if options.data else []),
    ]  # fmt: skip
    measured = run_measured(command, home / "output.txt", {"OMP_NUM_THREADS": "1"})
    storage = open_storage(f"sqlite:///{home / names.STORAGE_FILE}", create=False)
    try:
        champion = find_champion(find_study(storage, case))
        stages = take_snapshot(storage, case).stages
    finally:
        storage.close()
    searched = stages[:-1]
    found = Search(
        way=way,
        seed=seed,
        value=champion.value,
        best_trial=max(stage.best for stage in searched if stage.best is not None),
        trials=sum(stage.complete for stage in searched),
        epochs=sum(stage.epochs_done for stage in stages),
        wall_s=round(measured.wall_s, 1),
    )
    say(f"{way}, seed {seed}: {found.value:.4f} after {found.epochs} epochs, {found.wall_s:.0f} s")
    return found


def run_all(case: str, options: argparse.Namespace, scratch: Path) -> list[Search]:
    """Run every way with every seed, as many searches at a time as there are cores."""
    free: SimpleQueue[int] = SimpleQueue()
    for core in options.cores:
        free.put(core)

    def run(way: str, seed: int) -> Search:
        core = free.get()
        try:
            return run_search(case, way, seed, options, scratch, core)
        finally:
            free.put(core)

    with ThreadPoolExecutor(len(options.cores)) as pool:
        # Seed by seed, so that other load on the machine affects all ways alike.
        waiting = [pool.submit(run, way, seed) for seed in range(options.seeds) for way in WAYS]
        return [future.result() for future in waiting]


def summarise(searches: Sequence[Search]) -> dict[str, Any]:
    """The median value and regret of each way with 95 % bootstrap intervals, and its difference from the staged one."""
    best = max(search.value for search in searches)
    values = {way: np.array([search.value for search in searches if search.way == way]) for way in WAYS}
    return {
        way: {
            "median": median(own.tolist()),
            "interval": _interval(own),
            "median_regret": best - median(own.tolist()),
            "regret_interval": [best - value for value in reversed(_interval(own))],
            "staged_ahead": median((values["staged"] - own).tolist()),
            "staged_ahead_interval": _interval(values["staged"] - own),
        }
        for way, own in values.items()
    }


def _interval(values: Any) -> list[float]:
    """The 95 % bootstrap interval of the median."""
    samples = np.random.default_rng(0).choice(values, size=(RESAMPLED, len(values)))
    low, high = np.percentile(np.median(samples, axis=1), [2.5, 97.5])
    return [float(low), float(high)]


def describe(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each way."""
    lines = []
    for way, figures in summary.items():
        (low, high), (behind, ahead) = figures["interval"], figures["staged_ahead_interval"]
        lines.append(
            f"{way}: {figures['median']:.4f} ({low:.4f} to {high:.4f}), regret {figures['median_regret']:.4f}; "
            f"staged ahead by {figures['staged_ahead']:+.4f} ({behind:+.4f} to {ahead:+.4f})"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the searches of one case and print what they found."""
    parser = CommandParser(
        prog="python -m benchmarks.regret_on_trainings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--case", required=True, choices=sorted(CASES))
    parser.add_argument("--data", help="folder of the case's images (default: as the study names them)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", help="time of each search, e.g. 90s (default: the case's)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="fix a field in all searches")
    parser.add_argument("--cores", help="cores to use, e.g. 0,1 (default: all)")
    parser.add_argument("--scratch", type=Path, help="empty folder for the searches (default: a temporary one)")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args()
    options.budget = options.budget or CASES[options.case].budget
    budget_s = parse_duration(options.budget, "--budget")
    own = sorted(os.sched_getaffinity(0))
    options.cores = own if options.cores is None else [int(core) for core in options.cores.split(",")]
    options.data = options.data and str(Path(options.data).resolve())
    with tempfile.TemporaryDirectory(prefix="regret-") as folder:
        searches = run_all(options.case, options, options.scratch or Path(folder))
    summary = summarise(searches)
    result = {
        "case": options.case,
        "budget_s": budget_s,
        "seeds": options.seeds,
        "ways": summary,
        "searches": [asdict(search) for search in searches],
    }
    if options.save:
        say(f"kept: {write_result(f'regret-on-trainings-{options.case}', result)}")
    if options.json:
        print_json(result)
    else:
        print(describe(summary))


if __name__ == "__main__":
    sys.exit(main_guard(main))
