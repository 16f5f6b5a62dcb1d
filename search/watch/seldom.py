"""What a live page does not do at every change, because it takes long: drawing figures, estimating importance."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process

from optuna.trial import FrozenTrial, TrialState

from search.report.drawing import Make, draw_now
from search.report.figures.style import Plot
from search.report.importance import Importance, has_enough, rank_parameters
from search.terminal import say

SHARE = 0.05
"""The largest share of a core for drawing one figure again and again: a figure that took 20 ms is drawn again after
0.4 s, and one of thousands of trials that took half a second after 10 s."""
MORE_TRIALS = 1.2
"""Growth of the number of complete trials after which the importance of a stage's parameters is estimated anew."""
NICE = 10
"""Niceness of the process that makes estimates, so that training goes first."""
MOST_KILLED = 3
"""How often an estimate is started again at once after its process was killed, for example for want of memory."""


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    inputs: object
    plots: tuple[Plot, ...]
    due_at: float
    """Time (`time.monotonic`) from which the figures may be drawn again."""


class DrawSeldom:
    """`draw_now`, but figures whose inputs have not changed are kept, and costly ones are drawn again after a pause."""

    def __init__(self) -> None:
        self._drawn: dict[str, _Drawn] = {}
        self._behind: set[str] = set()

    @property
    def is_due(self) -> bool:
        """Whether a figure that was left as it was may be drawn again by now."""
        return any(self._drawn[name].due_at <= time.monotonic() for name in self._behind)

    def __call__(self, name: str, inputs: object, make: Make) -> tuple[Plot, ...]:
        """The figures of that name, drawn now or earlier."""
        known = self._drawn.get(name)
        self._behind.discard(name)
        if known and known.inputs == inputs:
            return known.plots
        if known and time.monotonic() < known.due_at:
            self._behind.add(name)
            return known.plots
        started_s = time.thread_time()
        plots = draw_now(name, inputs, make)
        for plot in plots:
            _ = plot.json  # Made here, because it takes a good part of the time.
        pause_s = (time.thread_time() - started_s) / SHARE
        self._drawn[name] = _Drawn(inputs=inputs, plots=plots, due_at=time.monotonic() + pause_s)
        return plots


class RankSeldom:
    """`rank_parameters` without the wait: the last estimate is shown until a process of its own has made a newer one.

    A thread would not do: it would slow down the drawing. A newer estimate is made when the stage has a fifth more
    complete trials. An estimate that fails leaves the last one as it is.
    """

    def __init__(self) -> None:
        self._known: dict[object, tuple[int, list[Importance] | None]] = {}
        self._is_working = False
        self._killed = 0
        self._said: set[str] = set()
        self.has_news = False
        """Whether an estimate has ended since the page was rendered, so that it may be rendered anew."""

    def __call__(self, trials: Sequence[FrozenTrial]) -> list[Importance] | None:
        """What `rank_parameters` returned for these trials, or for fewer of them; None before the first estimate."""
        if not has_enough(trials):
            return []
        complete = sum(trial.state == TrialState.COMPLETE for trial in trials)
        first = tuple(sorted(trials[0].params.items())) if trials else ()
        key = (first, *sorted({name for trial in trials for name in trial.params}))
        then, found = self._known.get(key) or (0, None)
        if complete >= MORE_TRIALS * then and not self._is_working:
            self._is_working = True
            self.start(trials).add_done_callback(partial(self._take, key, complete))
        return found

    def start(self, trials: Sequence[FrozenTrial]) -> Future[list[Importance]]:
        """Begin an estimate."""
        return _begin_estimate(trials)

    def _take(self, key: object, complete: int, done: Future[list[Importance]]) -> None:
        error = None if done.cancelled() else done.exception()
        is_killed = done.cancelled() or isinstance(error, BrokenProcessPool)
        self._killed = self._killed + 1 if is_killed else 0
        if not is_killed and error is None:
            self._known[key] = complete, done.result()
        elif not is_killed or self._killed > MOST_KILLED:
            self._killed = 0
            self._known[key] = complete, (self._known.get(key) or (0, None))[1]
            self._say_once(f"the importance of parameters is not estimated: {type(error).__name__}: {error}")
        self._is_working, self.has_news = False, True

    def _say_once(self, text: str) -> None:
        line = text.splitlines()[0]
        if line not in self._said:
            self._said.add(line)
            say(line)


_lock = threading.Lock()
_executor: ProcessPoolExecutor | None = None
"""The process that makes the estimates, one for all studies."""


def _begin_estimate(trials: Sequence[FrozenTrial]) -> Future[list[Importance]]:
    """Estimate in the process for that, which is started if there is none or if it was killed."""
    global _executor
    with _lock:
        try:
            _executor = _executor or _open_executor()
            return _submit(_executor, trials)
        except BrokenProcessPool:
            _executor = _open_executor()
            return _submit(_executor, trials)


def end_estimates() -> None:
    """End the process that makes estimates, without waiting for the one that it makes."""
    global _executor
    with _lock:
        executor, _executor = _executor, None
    if executor is not None:
        processes = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()


def _open_executor() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin)


def _submit(executor: ProcessPoolExecutor, trials: Sequence[FrozenTrial]) -> Future[list[Importance]]:
    # The process inherits the mask: Ctrl-C during its imports would print a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return executor.submit(rank_parameters, trials)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends it through the process that started it.
    os.nice(NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, however that was."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
