"""The display of a running study: a line per stage, a line per worker, the best trial so far, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from search.stage.describe import describe_study
from search.stage.snapshot import Snapshot, StageSnapshot
from search.supervisor.time_left import planned_epochs, time_left_s
from search.terminal import PLAIN_INTERVAL_S, NotebookCell, open_console, show_eta
from search.text import plural
from studies.definition import Study

LIVE_INTERVAL_S = 1.0
"""Seconds between two updates on a terminal or in a notebook."""


class RunProgress:
    """Shows snapshots: live on a terminal and in a notebook, as a line on stderr every few seconds elsewhere."""

    def __init__(self, study: Study, *, deadline: float | None) -> None:
        definition = describe_study(study)
        self._stages = [stage.name for stage in definition.stages]
        self._planned = planned_epochs(definition, study.folds)
        self._deadline = deadline
        self._console = open_console(stderr=True)
        self._live = (
            Live(console=self._console, refresh_per_second=4, transient=True) if self._console.is_terminal else None
        )
        self._cell = NotebookCell.open()
        self._next_update_at = 0.0

    def __enter__(self) -> RunProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """Print a line that stays on the screen."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def update(self, take: Callable[[], Snapshot]) -> None:
        """Show a study's state if it is time to; `take` reads it, which takes a while in a long study."""
        if time.monotonic() < self._next_update_at:
            return
        self._next_update_at = time.monotonic() + (LIVE_INTERVAL_S if self._cell or self._live else PLAIN_INTERVAL_S)
        snapshot = take()
        eta_s = time_left_s(snapshot, self._planned, self._deadline)
        if self._cell:
            self._cell.show(render(snapshot, self._stages, show_eta(eta_s)))
        elif self._live:
            self._live.update(render(snapshot, self._stages, show_eta(eta_s)))
        else:
            self.say(_line(snapshot, eta_s))


def render(snapshot: Snapshot, stages: Sequence[str], state: str) -> RenderableType:
    """The whole display. `stages` names all stages of the study, `state` is a phrase for the title."""
    table = Table(box=None, pad_edge=False, title=f"Sieve · {snapshot.study} · {state}", title_justify="left")
    for heading in ("stage", "", "trials", "pruned", "failed", "best"):
        table.add_column(heading, justify="left" if heading in ("stage", "") else "right")
    for stage in snapshot.stages:
        table.add_row(
            stage.name,
            ProgressBar(total=stage.planned, completed=stage.finished, width=24),
            f"{stage.finished}/{stage.planned}",
            f"{_pruned_share(stage):.0%}",
            str(stage.failed),
            _best(stage),
        )
    for name in stages[len(snapshot.stages) :]:
        table.add_row(name, "", "", "", "", "")
    return Group(table, _workers(snapshot))


def _workers(snapshot: Snapshot) -> RenderableType:
    """A line per worker: its machine, its device, its trial and epoch."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for worker in snapshot.workers:
        table.add_row(worker.host, worker.device, worker.doing.replace(f"{snapshot.study}/", "", 1))
    return table


def _line(snapshot: Snapshot, eta_s: float | None) -> str:
    parts = [
        f"{stage.name} {stage.finished}/{stage.planned} best {_best(stage)}, {_pruned_share(stage):.0%} pruned"
        for stage in snapshot.stages[-1:]
    ]
    return " · ".join([snapshot.study, *parts, plural(len(snapshot.workers), "worker"), show_eta(eta_s)])


def _best(stage: StageSnapshot) -> str:
    if stage.best is not None:
        return f"{stage.best:.4f} (#{stage.best_trial})"
    return "-" if stage.reported is None else f"{stage.reported:.4f} (#{stage.reported_trial}, not complete)"


def _pruned_share(stage: StageSnapshot) -> float:
    return stage.pruned / stage.finished if stage.finished else 0.0
