"""Ends a worker whose training hangs.

A thread that is stuck in C code, in a driver or on a disk that is gone cannot be stopped from outside: the process has
to end, and another worker takes its place. So the watchdog is a thread of its own. Code that is stuck while it holds
the interpreter's lock stops this thread as well; then Python's own watchdog, which needs no lock, ends the process.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search.timing import DEFAULT_TIMING, Timing

STDERR = 2
"""The file descriptor itself: `sys.stderr` may be another object when Python's watchdog writes."""
FRAMES = 4
"""Stack frames that the reason shows of the place where the training hangs."""


class Watchdog(threading.Thread):
    """Calls `on_hang` once, with a reason, if `beat` is not called for `timeout_s` seconds while training is watched.

    It counts its own ticks instead of reading the clock, so that the time for which the whole process was paused is not
    held against the training.
    """

    def __init__(
        self, timeout_s: float | None, on_hang: Callable[[str], None], *, timing: Timing = DEFAULT_TIMING
    ) -> None:
        """Watches the thread that creates it. With a `timeout_s` of None it never calls."""
        super().__init__(name="watchdog", daemon=True)
        self._timeout_s = timeout_s
        self._on_hang = on_hang
        self._tick_s = timing.watchdog_tick_s
        self._grace_s = timing.watchdog_grace_s
        self._trainer = threading.get_ident()
        self._beats = 0
        self._is_watching = False
        self._next_postponement_at = 0.0
        self._closing = threading.Event()

    def beat(self) -> None:
        """Note that the training has made progress."""
        self._beats += 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Wrap code that has to make progress."""
        self.beat()
        self._postpone_python_watchdog()
        self._is_watching = True
        try:
            yield
        finally:
            self._is_watching = False

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self.join()

    def run(self) -> None:
        """The thread's loop."""
        if self._timeout_s is None:
            return
        beats, quiet_s = -1, 0.0
        while not self._closing.wait(self._tick_s):
            self._postpone_python_watchdog()
            if beats != self._beats or not self._is_watching:
                beats, quiet_s = self._beats, 0.0
                continue
            quiet_s += self._tick_s
            if quiet_s >= self._timeout_s:
                self._on_hang(f"no batch was finished in {self._timeout_s:g} s; it hangs here:\n{self._stack()}")
                break
        faulthandler.cancel_dump_traceback_later()

    def _postpone_python_watchdog(self) -> None:
        """Python's watchdog ends the process unless this is called again in time; a stuck thread cannot."""
        if self._timeout_s is not None and time.monotonic() >= self._next_postponement_at:
            self._next_postponement_at = time.monotonic() + self._tick_s / 2
            faulthandler.dump_traceback_later(self._timeout_s + self._grace_s, exit=True, file=STDERR)

    def _stack(self) -> str:
        """The innermost frames of the training thread."""
        frame = sys._current_frames().get(self._trainer)
        return "".join(traceback.format_stack(frame)[-FRAMES:]).rstrip()
