"""Where a study stands: stages, trials by state, best, when it will end, who works on what, how busy the GPUs are.

    python -m search.status [--study NAME] [--watch] [--json]

Prints once. With --watch it stays on the terminal and follows every study that is not done, until all are or until
Ctrl-C, which ends only the watching. A look costs the database a few short statements, whatever the study's size.
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
from search.cli import command_parser, main_guard
from search.gpus import Gpu, read_gpus
from search.settings import from_arguments, redact
from search.stage.snapshot import Snapshot, take_snapshot
from search.store.find import find_study
from search.store.locks import is_supervised
from search.store.records import StudyRecord, read_study, study_names
from search.store.seal import looks
from search.store.storage import Storage, open_storage
from search.supervisor.outlook import planned_epochs, stage_names, time_left_s
from search.supervisor.run_progress import render
from search.terminal import print_json, show_eta

WATCH_S = 2.0
"""Between two looks at the database."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A study at one moment, and what to expect of it."""

    record: StudyRecord
    snapshot: Snapshot
    is_supervised: bool
    """Whether a `search.run` is at work on it."""
    eta_s: float | None
    """Seconds to the end of the search; None once it is over, and while it is too early to tell."""

    @property
    def is_over(self) -> bool:
        return self.record.state == "done"

    @property
    def state(self) -> str:
        """In words."""
        if self.is_over or not self.is_supervised:
            return "done" if self.is_over else "stopped; its search.run command goes on"
        return "naming the champion" if self.record.state == "promoting" else show_eta(self.eta_s)

    def to_json(self) -> dict[str, Any]:
        return {
            "study": self.record.name,
            "state": self.record.state,
            "supervised": self.is_supervised,
            "eta_s": None if self.eta_s is None else round(self.eta_s, 1),
            "stages": [asdict(stage) for stage in self.snapshot.stages],
            "workers": [asdict(worker) for worker in self.snapshot.workers],
            "champion": self.record.champion,
        }


def standing(storage: Storage, record: StudyRecord) -> Standing:
    """How a study stands now."""
    snapshot = take_snapshot(storage, record.name)
    supervised = is_supervised(storage, record.name)
    eta_s = None
    if record.state == "running" and supervised:
        planned = planned_epochs(record.definition, record.data["spec"].get("folds", 0))
        eta_s = time_left_s(snapshot, planned, record.deadline)
    return Standing(record=record, snapshot=snapshot, is_supervised=supervised, eta_s=eta_s)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = command_parser("search.status", __doc__)
    parser.add_argument("--study", help="default: all studies")
    parser.add_argument("--watch", action="store_true", help="stay, and show how it goes on; Ctrl-C ends it")
    options = parser.parse_args(argv)
    settings, console = from_arguments(options), Console()
    if options.watch and (options.json or not console.is_terminal):
        raise UserError("--watch draws on a terminal; without it, status prints once, with --json as one object")
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
    """Draw again and again until every study is done; the last picture stays, and the terminal gets its cursor back."""
    # Noted, and not raised: in the middle of a call to the database a KeyboardInterrupt may get lost.
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
    """At most so long: an interrupt ends it soon."""
    deadline = time.monotonic() + seconds
    while not interrupts and time.monotonic() < deadline:
        time.sleep(0.1)


def _page(standings: Iterable[Standing], gpus: Sequence[Gpu]) -> RenderableType:
    parts: list[RenderableType] = []
    for one in standings:
        parts.append(render(one.snapshot, stage_names(one.record.definition), one.state))
        if champion := one.record.champion:
            parts.append(Text(f"champion {champion['model_uri']} {champion['val_accuracy']:.4f}"))
        elif best := _best_so_far(one):
            parts.append(Text(best))
        parts.append(Text())
    return Group(*parts, *([_gpu_table(gpus)] if gpus else []))


def _best_so_far(one: Standing) -> str | None:
    """The best single run of any stage."""
    metric = one.record.definition["metric"]
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
