"""What a live page does not do at every change, because it takes long: drawing figures, estimating importance."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.pool import Pool

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.report.drawing import Make, draw_now
from search.report.figures.style import Plot
from search.report.importance import Importance, has_enough, rank_parameters

SHARE = 0.05
"""The largest share of a core for drawing one figure again and again: a figure that took 20 ms is drawn again after
0.4 s, and one of thousands of trials that took half a second after 10 s."""
MORE_TRIALS = 1.2
"""Growth of the number of complete trials after which the importance of a stage's parameters is estimated anew."""
NICE = 10
"""How far estimates stand back behind the training on a busy machine."""


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
            assert plot.json  # Made here, because it takes a good part of the time.
        pause_s = (time.thread_time() - started_s) / SHARE
        self._drawn[name] = _Drawn(inputs=inputs, plots=plots, due_at=time.monotonic() + pause_s)
        return plots


class RankSeldom:
    """`rank_parameters` without the wait: the last estimate is shown until a process of its own has made a newer one.

    A thread would not do: it would slow down the drawing. A newer estimate is made when the stage has a fifth more
    complete trials.
    """

    def __init__(self) -> None:
        self._known: dict[object, tuple[int, list[Importance]]] = {}
        self._is_working = False
        self.has_news = False
        """Whether an estimate has become ready that no page shows yet."""

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
            self.start(trials, partial(self._take, key, complete))
        return found

    def start(self, trials: Sequence[FrozenTrial], take: Callable[[list[Importance] | None], None]) -> None:
        """Begin an estimate; `take` gets it, or None if it failed."""
        _pool().apply_async(rank_parameters, (trials,), callback=take, error_callback=lambda _: take(None))

    def _take(self, key: object, complete: int, found: list[Importance] | None) -> None:
        self._known[key] = complete, found or []
        self._is_working, self.has_news = False, True


@cache
def _pool() -> Pool:
    """The process that makes the estimates, one for all studies; it ends with this one."""
    return get_context("spawn").Pool(1, _begin)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends it through the process that started it.
    os.nice(NICE)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # Each resample is a study, which Optuna would announce.
