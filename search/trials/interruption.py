"""What signals do to a worker: the first stop lets its running trials end, the second ends them at once.

A signal may arrive in the middle of a call to the database, which must not be left half done. It is only noted there,
and takes effect in code that is marked as interruptible.

It takes effect as an exception. Python cannot raise one out of the callback of a weak reference, a `__del__` method or
a callback of the garbage collector: it prints "Exception ignored in" and goes on, and libraries run such code at any
point. The exception is raised again shortly after it was lost there.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from search.trials.lease_keeper import OUT_OF_TIME_SIGNAL, STOP_SIGNAL

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

RAISE_AGAIN_S = 0.05
"""Seconds from an exception that was lost until it is raised again."""


class WorkerStopped(BaseException):  # Not an Exception: no library in between may swallow it.
    """The worker has to stop now; the trial goes back into the queue with its checkpoint."""


class TimeIsUp(BaseException):
    """The stage's share of the time budget is used up. Raised in mid-epoch, since an epoch may be long."""


class Interruption:
    """The signals that a worker has received. There is one per process, since it sets the process's handlers."""

    def __init__(self, supervisor_gone: threading.Event) -> None:
        """With `supervisor_gone` set, the first stop ends the trials at once: nobody waits for their results."""
        self.stopping = threading.Event()
        """Set once the worker has to stop after its running trials."""
        self._supervisor_gone = supervisor_gone
        self._stop_now = False
        self._out_of_time = False
        self._is_interruptible = False

    def install(self) -> None:
        """Handle SIGTERM, Ctrl-C and the signal of the lease keeper from now on."""
        signal.signal(STOP_SIGNAL, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(OUT_OF_TIME_SIGNAL, self._on_out_of_time)
        signal.signal(signal.SIGALRM, self._on_alarm)
        report_unraisable = sys.unraisablehook

        def on_unraisable(lost: UnraisableHookArgs) -> None:
            if issubclass(lost.exc_type, (WorkerStopped, TimeIsUp)):
                signal.setitimer(signal.ITIMER_REAL, RAISE_AGAIN_S)
            else:
                report_unraisable(lost)

        sys.unraisablehook = on_unraisable

    def begin_trials(self) -> None:
        """Prepare for newly claimed trials. Raises WorkerStopped if a stop arrived while they were claimed."""
        self._out_of_time = False
        if self.stopping.is_set():
            raise WorkerStopped

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Wrap code that a signal may end at any point; it raises WorkerStopped or TimeIsUp there."""
        self._is_interruptible = True
        try:
            self._interrupt()  # For a signal that arrived before.
            yield
        finally:
            self._is_interruptible = False

    def _on_stop(self, signum: int, frame: FrameType | None) -> None:
        if self.stopping.is_set() or self._supervisor_gone.is_set():
            self._stop_now = True
        self.stopping.set()
        self._interrupt()

    def _on_out_of_time(self, signum: int, frame: FrameType | None) -> None:
        self._out_of_time = True
        self._interrupt()

    def _on_alarm(self, signum: int, frame: FrameType | None) -> None:
        self._interrupt()

    def _interrupt(self) -> None:
        if self._is_interruptible and self._stop_now:
            raise WorkerStopped
        if self._is_interruptible and self._out_of_time:
            raise TimeIsUp
