"""Lines, JSON and progress bars on the terminal, for the commands and everything that they call."""

from __future__ import annotations

import io
import json
import sys
import time
from types import TracebackType
from typing import IO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from search.durations import show_duration

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes of every command."""
DEVICE_FULL = 75
"""Exit code of a worker that a supervisor has started, if other programs fill its GPU."""

PLAIN_INTERVAL_S = 10.0
"""Seconds between progress lines where stderr is not a terminal."""


NOTEBOOK_WIDTH = 100
"""Characters of a line in a notebook's cell."""


def open_console(file: IO[str] | None = None, *, stderr: bool = False, width: int | None = None) -> Console:
    """A console that shows names as they are: `[final]` and `:cat:` are no styles and no emoji in it."""
    return Console(file=file, stderr=stderr, width=width, markup=False, emoji=False)


class NotebookCell:
    """The output of the notebook cell that is running: what is shown replaces what was shown before."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._handle = display(HTML(""), display_id=True)

    @classmethod
    def open(cls) -> NotebookCell | None:
        """The running cell; None outside a notebook."""
        return cls() if "ipykernel" in sys.modules else None

    def show(self, content: RenderableType) -> None:
        """Show tables and bars as they look on a terminal."""
        console = Console(record=True, file=io.StringIO(), width=NOTEBOOK_WIDTH, markup=False, emoji=False)
        console.print(content)
        page = '<pre style="line-height:1.2">{code}</pre>'
        self._handle.update(self._html(console.export_html(inline_styles=True, code_format=page)))


def print_json(value: object) -> None:
    """Print one JSON object on stdout. Raises ValueError for NaN and infinity, which JSON does not have."""
    can_print_all = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not can_print_all, allow_nan=False)
    # A name that is not UTF-8 is printed in codes, as JSON spells them.
    print(text.encode("utf-8", "backslashreplace").decode())


def say(line: str) -> None:
    """Print a line for people on stderr; stdout is for the result."""
    print(line, file=sys.stderr, flush=True)


def show_eta(eta_s: float | None) -> str:
    """Text for the time left in seconds, e.g. `3 min 20 s left`; `measuring` while it is None."""
    return "measuring" if eta_s is None else f"{show_duration(eta_s)} left"


class DataProgress:
    """A progress bar for long work before or after the search: downloading, hashing, decoding, testing.

    It is a context manager: on leaving it, the bar is removed and the terminal gets its cursor back.
    """

    def __init__(self) -> None:
        self._console = open_console(stderr=True)
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
        """Show that `done` of `total` items of a step named `what` are finished, with the time left."""
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
        """Time to the end of this work, from its pace since its first report; empty until that is known."""
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
