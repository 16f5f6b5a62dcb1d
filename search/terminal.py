"""Lines, JSON and progress bars on the terminal, for every command and whatever works behind it."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from search.durations import show_duration

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes of every command."""

PLAIN_INTERVAL_S = 10.0
"""Seconds between progress lines where stderr is not a terminal."""


def print_json(value: object) -> None:
    """Print one JSON object on stdout. Raises ValueError for a NaN, which JSON does not have."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def say(line: str) -> None:
    """Tell people something on stderr, so that stdout stays with the result."""
    print(line, file=sys.stderr, flush=True)


def show_eta(eta_s: float | None) -> str:
    """`3 min 20 s left`."""
    return "measuring" if eta_s is None else f"{show_duration(eta_s)} left"


class DataProgress:
    """A bar for whatever takes long before or after the search: downloading, hashing, decoding, testing.

    Leave its context to give a terminal back as it was, whatever stopped the work.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._next_line_at = time.monotonic() + PLAIN_INTERVAL_S
        self._begun = ("", 0.0, 0)

    def __enter__(self) -> DataProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def __call__(self, what: str, done: int, total: int) -> None:
        left = self._left(what, done, total)
        if not self._console.is_terminal:
            if time.monotonic() >= self._next_line_at:
                self._next_line_at = time.monotonic() + PLAIN_INTERVAL_S
                self._console.print(f"{what} {done:,} of {total:,}{left and ', '}{left}", markup=False, highlight=False)
            return
        if self._live is None:
            self._live = Live(console=self._console, transient=True)
            self._live.start()
        bar = Table(box=None, show_header=False, pad_edge=False)
        bar.add_row(what, ProgressBar(total=max(1, total), completed=done, width=30), f"{done:,}/{total:,}", left)
        self._live.update(bar)
        if done >= total > 0:
            self._clear()

    def _left(self, what: str, done: int, total: int) -> str:
        """Time to the end of this work, at its pace since it was first heard of; empty where that says nothing yet."""
        if self._begun[0] != what:
            self._begun = what, time.monotonic(), done
        _, begun_at, done_then = self._begun
        if done <= done_then or total < done:
            return ""
        return show_eta((time.monotonic() - begun_at) / (done - done_then) * (total - done))

    def _clear(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
