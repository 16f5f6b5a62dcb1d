"""Show the progress of every study: stages, trials by state, the best value, the time left, workers and GPUs.

    sieve status
    sieve status --study NAME --watch

The status is printed once. With --watch the display is updated until every study is done, or until Ctrl-C, which ends
only the display. An update takes a few short queries, whatever the size of the study.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from data.errors import UserError
from search.cli import CommandParser, command_parser, main_guard
from search.gpus import Gpu, read_gpus
from search.settings import enter_home
from search.stage.snapshot import Snapshot, early_ends, take_snapshot
from search.store.find import find_study
from search.store.locks import is_supervised
from search.store.records import StudyRecord, read_study, study_names
from search.store.seal import looks
from search.store.storage import Storage, open_storage
from search.supervisor.run_progress import render
from search.supervisor.time_left import planned_epochs, time_left_s
from search.terminal import open_console, print_json, show_eta
from search.urls import redact

WATCH_S = 2.0
"""Seconds between two updates of `--watch`."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A study's progress at one moment, and the time that it still needs."""

    record: StudyRecord
    snapshot: Snapshot
    is_supervised: bool
    """Whether a `sieve run` is working on the study."""
    eta_s: float | None
    """Seconds to the end of the search. None if it is over, or if it is too early to tell."""

    @property
    def is_over(self) -> bool:
        """Whether the study is done."""
        return self.record.state == "done"

    @property
    def state(self) -> str:
        """The state as text for people."""
        if self.is_over or not self.is_supervised:
            return "done" if self.is_over else "stopped; `sieve run` continues it"
        return "naming the champion" if self.record.state == "promoting" else show_eta(self.eta_s)

    def to_json(self) -> dict[str, Any]:
        """Return the study's state, stages, workers and times as a dict for JSON."""
        return {
            "study": self.record.name,
            "state": self.record.state,
            "supervised": self.is_supervised,
            "eta_s": None if self.eta_s is None else round(self.eta_s, 1),
            "stages": [asdict(stage) for stage in self.snapshot.stages],
            "workers": [asdict(worker) for worker in self.snapshot.workers],
            "champion": self.record.champion and self.record.champion.to_json(),
        }


def standing(storage: Storage, record: StudyRecord) -> Standing:
    """Read a study's progress from the database."""
    snapshot = take_snapshot(storage, record.name)
    supervised = is_supervised(storage, record.name)
    eta_s = None
    if record.state == "running" and supervised:
        planned = planned_epochs(record.definition, record.data.spec.folds)
        eta_s = time_left_s(snapshot, planned, record.deadline)
    return Standing(record=record, snapshot=snapshot, is_supervised=supervised, eta_s=eta_s)


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.status", __doc__)
    parser.add_argument("--study", metavar="NAME", help="show only this study (default: all studies)")
    parser.add_argument("--watch", action="store_true", help="update the display until every study is done")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    settings, console = enter_home(options), open_console()
    if options.watch and (options.json or not console.is_terminal):
        raise UserError(
            "--watch needs a terminal, and cannot be used with --json; leave out --watch to print the status once"
        )
    # A person waits for what is printed once; a page that is watched outlasts an outage.
    storage = open_storage(settings.storage_url, create=False, outage_s=None if options.watch else 0)
    try:
        if options.watch:
            _watch(storage, options.study, console)
            return
        standings = _standings(storage, options.study)
        if options.json:
            shown = [{**one.to_json(), "looks": len(looks(storage, one.record.name))} for one in standings]
            print_json({"studies": shown, "gpus": [asdict(gpu) for gpu in read_gpus()]})
        elif standings:
            console.print(_page(standings, read_gpus()))
        else:
            console.print(f"no studies yet at {redact(settings.storage_url)}", markup=False, highlight=False)
    finally:
        storage.close()


def _standings(storage: Storage, study: str | None) -> list[Standing]:
    if study:
        return [standing(storage, find_study(storage, study))]
    records = (read_study(storage, name) for name in study_names(storage))
    return [standing(storage, record) for record in records if record]


def _watch(storage: Storage, study: str | None, console: Console) -> None:
    """Update the page until every study is done. The last page stays, and the terminal gets its cursor back."""
    # Ctrl-C is noted and not raised: a KeyboardInterrupt in the middle of a call to the database may get lost.
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda signum, frame: interrupts.append(signum))
    try:
        with Live(console=console, auto_refresh=False) as live:
            while not interrupts:
                standings = _standings(storage, study)
                going_on = [one for one in standings if not one.is_over]
                live.update(_page(going_on or standings, read_gpus()), refresh=True)
                if not going_on:
                    return
                _sleep(WATCH_S, interrupts)
    finally:
        signal.signal(signal.SIGINT, before)


def _sleep(seconds: float, interrupts: Sequence[int]) -> None:
    """Sleep for at most this many seconds; an interrupt ends the sleep within 0.1 s."""
    deadline = time.monotonic() + seconds
    while not interrupts and time.monotonic() < deadline:
        time.sleep(0.1)


def _page(standings: Iterable[Standing], gpus: Sequence[Gpu]) -> RenderableType:
    parts: list[RenderableType] = []
    for one in standings:
        parts.append(render(one.snapshot, [stage.name for stage in one.record.definition.stages], one.state))
        parts += [Text(line) for line in early_ends(one.snapshot.stages)]
        if champion := one.record.champion:
            parts.append(Text(f"champion {champion.model_uri} {champion.val_accuracy:.4f}"))
        elif best := _best_so_far(one):
            parts.append(Text(best))
        parts.append(Text())
    return Group(*parts, *([_gpu_table(gpus)] if gpus else []))


def _best_so_far(one: Standing) -> str | None:
    """Text for the best single trial of all stages; None without a finished trial."""
    metric = one.record.definition.metric
    pick = min if metric == "val_loss" else max
    found = [(stage.best, stage) for stage in one.snapshot.stages if stage.best is not None]
    if not found:
        return None
    value, stage = pick(found, key=lambda entry: entry[0])
    return f"best so far {value:.4f} {metric} ({stage.name} #{stage.best_trial})"


def _gpu_table(gpus: Sequence[Gpu]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, title="GPUs of this machine", title_justify="left")
    for gpu in gpus:
        busy = "-" if gpu.busy_percent is None else f"{gpu.busy_percent:.0f} % busy"
        memory = f"{_gib(gpu.memory_used_mib)} of {_gib(gpu.memory_total_mib)} GiB"
        table.add_row(f"cuda:{gpu.index}", gpu.name, busy, memory)
    return table


def _gib(mib: float | None) -> str:
    return "?" if mib is None else f"{mib / 1024:.1f}"


if __name__ == "__main__":
    sys.exit(main_guard(main))
