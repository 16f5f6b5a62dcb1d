"""What real searches find in equal time: staged, flat, and one epoch of many configurations, then the best of them.

    python -m benchmarks.regret_on_trainings --case digits [--data FOLDER] [--seeds 5] [--budget 90s]
        [--set FIELD=VALUE ...] [--cores 0,1] [--save] [--json]

Every search gets the same time (`--budget`) and one core, so that as many run side by side as there are cores. The
value of a search is its champion's mean on fresh seeds, on validation images; the test set stays sealed. The regret is
the distance from the best search of the case. With `--save` every search is stored as soon as it has ended, and the
same command continues after a stop.

- `cifar10`: 5,000 images at 32 px, the study `cifar10`; `--data` is a folder of CIFAR-10. 5 minutes each.
- `hymenoptera`: heads on a frozen backbone, five folds; `--set backbone=NAME --set weights=FILE`. 2 minutes each.
- `digits`: the study `quickstart`. 90 seconds each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from statistics import fmean
from threading import Event
from typing import Any

from benchmarks.equal_time import CASES, WAYS
from benchmarks.measured import run_measured
from benchmarks.results import read_result, write_result
from data.errors import UserError
from models.values import parse_assignment
from search import names
from search.cli import CommandParser, main_guard
from search.durations import parse_duration
from search.stage.snapshot import take_snapshot
from search.store.find import find_champion, find_study
from search.store.storage import open_storage
from search.terminal import print_json, say
from search.verdict.champion import mean_interval

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
    confirmation_epochs: int
    """Epochs of each run of the confirmation."""
    confirmation_seeds: int
    """Number of runs behind `value`."""
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
        confirmation_epochs=champion.config["epochs"],
        confirmation_seeds=len(champion.seeds),
        wall_s=round(measured.wall_s, 1),
    )
    say(f"{way}, seed {seed}: {found.value:.4f} after {found.epochs} epochs, {found.wall_s:.0f} s")
    return found


def run_all(
    case: str, options: argparse.Namespace, scratch: Path, done: list[Search], keep: Callable[[Sequence[Search]], None]
) -> list[Search]:
    """Run every way with every seed but those that are done, as many searches at a time as there are cores.

    `keep` gets all that are done each time another has ended. After an error those that run are waited for, and no
    other begins.
    """
    free: SimpleQueue[int] = SimpleQueue()
    for core in options.cores:
        free.put(core)

    is_ending = Event()

    def run(way: str, seed: int) -> Search | None:
        if is_ending.is_set():
            return None
        core = free.get()
        try:
            return run_search(case, way, seed, options, scratch, core)
        except BaseException:
            is_ending.set()
            raise
        finally:
            free.put(core)

    errors: list[BaseException] = []
    known = {(search.way, search.seed) for search in done}
    with ThreadPoolExecutor(len(options.cores)) as pool:
        # Seed by seed, so that other load on the machine affects all ways alike.
        pairs = [(way, seed) for seed in range(options.seeds) for way in WAYS if (way, seed) not in known]
        waiting = [pool.submit(run, way, seed) for way, seed in pairs]
        try:
            for ended in as_completed(waiting):
                if error := ended.exception():
                    errors.append(error)
                elif search := ended.result():
                    done = [*done, search]
                    keep(done)
        finally:
            is_ending.set()  # Also on Ctrl-C.
    if errors:
        raise errors[0]
    return done


def stored_searches(stored: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> list[Search]:
    """The searches that are stored already. Raises UserError if those had other settings."""
    if stored is None:
        return []
    for setting, value in settings.items():
        if stored.get(setting) != value:
            raise UserError(
                f"the stored searches have {setting} {stored.get(setting)}, these {value}; search with the same, or "
                f"move benchmarks/results/{_file(settings['case'])}.json away"
            )
    return [Search(**search) for search in stored["searches"]]


def _file(case: str) -> str:
    return f"regret-on-trainings-{case}"


def summarise(searches: Sequence[Search]) -> dict[str, Any]:
    """The mean value and regret of each way, and by how much the staged one is ahead on the same seed.

    Intervals are 95 % intervals of a mean by Student's t; None with a single seed.
    """
    best = max(search.value for search in searches)
    values = {way: {search.seed: search.value for search in searches if search.way == way} for way in WAYS}
    summary = {}
    for way, own in values.items():
        ahead = [values["staged"][seed] - own[seed] for seed in sorted(values["staged"].keys() & own.keys())]
        if ahead:
            summary[way] = {
                "mean": fmean(own.values()),
                "interval": mean_interval(list(own.values())),
                "mean_regret": best - fmean(own.values()),
                "staged_ahead": fmean(ahead),
                "staged_ahead_interval": mean_interval(ahead),
            }
    return summary


def describe(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each way."""
    return "\n".join(
        f"{way}: {figures['mean']:.4f}{_between(figures['interval'], '.4f')}, regret {figures['mean_regret']:.4f}; "
        f"staged ahead by {figures['staged_ahead']:+.4f}{_between(figures['staged_ahead_interval'], '+.4f')}"
        for way, figures in summary.items()
    )


def _between(interval: tuple[float, float] | None, digits: str) -> str:
    return "" if interval is None else f" ({interval[0]:{digits}} to {interval[1]:{digits}})"


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
    own = sorted(os.sched_getaffinity(0))
    options.cores = own if options.cores is None else [int(core) for core in options.cores.split(",")]
    options.data = options.data and str(Path(options.data).resolve())
    settings = {
        "case": options.case, "budget_s": parse_duration(options.budget, "--budget"), "fixed": _fixed(options.set),
        "data": options.data and Path(options.data).name,
    }  # fmt: skip

    def result_of(searches: Sequence[Search]) -> dict[str, Any]:
        found = [asdict(search) for search in searches]
        return {
            **settings,
            "seeds": len({search.seed for search in searches}),
            "ways": summarise(searches),
            "searches": found,
        }

    def keep(searches: Sequence[Search]) -> None:
        if options.save:
            write_result(_file(options.case), result_of(searches))

    done = stored_searches(read_result(_file(options.case)), settings) if options.save else []
    with tempfile.TemporaryDirectory(prefix="regret-") as folder:
        searches = run_all(options.case, options, options.scratch or Path(folder), done, keep)
    result = result_of(searches)
    if options.json:
        print_json(result)
    else:
        print(describe(result["ways"]))


def _fixed(assignments: Sequence[str]) -> dict[str, object]:
    """The fields that `--set` fixes; of files, the names."""
    found = dict(parse_assignment(text) for text in assignments)
    return {
        field: Path(value).name if isinstance(value, str) and Path(value).is_file() else value
        for field, value in found.items()
    }


if __name__ == "__main__":
    sys.exit(main_guard(main))
