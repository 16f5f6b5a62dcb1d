"""Ends a worker whose training hangs.

A thread that is stuck in C code, in a driver or on a disk that is gone, cannot be stopped from outside: the process has
to end, and another worker takes its place. So the watchdog is a thread of its own. Code that is stuck while it holds
the interpreter's lock stops this thread, too; then Python's own watchdog, which needs no lock, ends the process.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK_S = 1.0
GRACE_S = 60.0
"""Python's watchdog waits so much longer than this one."""
STDERR = 2
"""By number: whatever Python calls stderr may be something else by then."""
FRAMES = 4
"""Of the stack on which the training hangs, in the reason."""


class Watchdog(threading.Thread):
    """Calls `on_hang` with a reason, once, where nothing calls `beat` for too long while the training is watched.

    It counts its own ticks, not the clock's, so that the time for which the whole process was paused is not held
    against the training.
    """

    def __init__(self, timeout_s: float | None, on_hang: Callable[[str], None]) -> None:
        """Watches over the thread that makes it; with None it never calls."""
        super().__init__(name="watchdog", daemon=True)
        self._timeout_s = timeout_s
        self._on_hang = on_hang
        self._trainer = threading.get_ident()
        self._beats = 0
        self._is_watching = False
        self._next_strike_at = 0.0
        self._closing = threading.Event()

    def beat(self) -> None:
        """The training has made progress."""
        self._beats += 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around what has to make progress."""
        self.beat()
        self._put_off_strike()
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
        """The thread's work."""
        if self._timeout_s is None:
            return
        beats, quiet_s = -1, 0.0
        while not self._closing.wait(TICK_S):
            self._put_off_strike()
            if beats != self._beats or not self._is_watching:
                beats, quiet_s = self._beats, 0.0
                continue
            quiet_s += TICK_S
            if quiet_s >= self._timeout_s:
                self._on_hang(f"no batch was finished in {self._timeout_s:g} s; it hangs here:\n{self._where()}")
                break
        faulthandler.cancel_dump_traceback_later()

    def _put_off_strike(self) -> None:
        """Python's watchdog ends the process unless this is called again in time: where this thread cannot run."""
        if self._timeout_s is not None and time.monotonic() >= self._next_strike_at:
            self._next_strike_at = time.monotonic() + TICK_S / 2
            faulthandler.dump_traceback_later(self._timeout_s + GRACE_S, exit=True, file=STDERR)

    def _where(self) -> str:
        """The innermost frames of the training thread."""
        frame = sys._current_frames().get(self._trainer)
        return "".join(traceback.format_stack(frame)[-FRAMES:]).rstrip()
