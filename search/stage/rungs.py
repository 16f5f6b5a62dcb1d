"""Rungs: the epochs at which the trials of a stage pause, and which of the paused trials continue.

This is asynchronous successive halving with the reduction factor 2 (ASHA; Li et al. 2020, "A System for Massively
Parallel Hyperparameter Tuning", https://arxiv.org/abs/1810.05934): a trial continues while it is among the better half
of all trials that have reached its rung, so the median decides, as it does in median pruning. A trial below the median
keeps its checkpoint, and continues when enough worse trials have joined its rung. No epoch is trained twice. The
trials of a stage that extends another one meet those of that stage here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from search.store.paused import RungTrial

REDUCTION = 2
"""One in this many trials continues at each rung."""


def rung_epochs(epochs: int) -> tuple[int, ...]:
    """The epochs after which trials of at most `epochs` epochs pause: 1, 2, 4 and so on, up to half of `epochs`."""
    rungs, rung = [], 1
    while rung * REDUCTION <= epochs:
        rungs.append(rung)
        rung *= REDUCTION
    return tuple(rungs)


def expected_epochs(epochs: int) -> float:
    """The epochs that a trial of at most `epochs` epochs trains on average, if half of the trials stop at each rung."""
    rungs = (*rung_epochs(epochs), epochs)
    lengths = [after - before for before, after in zip((0, *rungs), rungs, strict=False)]
    return sum(length * (1 / REDUCTION) ** index for index, length in enumerate(lengths))


def continues(trials: Sequence[RungTrial], trial_id: int, rung: int, *, maximize: bool) -> bool:
    """Whether a trial that has just reached a rung continues at once."""
    return trial_id in _better_half(trials, rung, maximize=maximize)


def to_continue(
    trials: Sequence[RungTrial], rungs: Sequence[int], *, maximize: bool, more_follow: bool = False
) -> list[int]:
    """The ids of the paused trials that should continue, the most advanced first and then the best.

    If every trial has ended or is paused, none is complete, and no trials of another stage follow (`more_follow`), that
    is the best of the most advanced trials: a stage trains at least one trial to its end.
    """
    promoted = list(_promoted(trials, rungs, maximize=maximize))
    if promoted or more_follow or any(trial.state in ("waiting", "running", "complete") for trial in trials):
        return promoted
    furthest = max((trial.epochs for trial in trials if trial.state == "paused"), default=0)
    last = [trial for trial in trials if trial.state == "paused" and trial.epochs == furthest]
    return _ranked(last, furthest, maximize=maximize)[:1]


def _promoted(trials: Sequence[RungTrial], rungs: Sequence[int], *, maximize: bool) -> Iterator[int]:
    paused = {trial.trial_id: trial for trial in trials if trial.state == "paused"}
    for rung in sorted(rungs, reverse=True):
        for trial_id in _better_half(trials, rung, maximize=maximize):
            if trial_id in paused and paused[trial_id].epochs == rung:
                yield trial_id


def _better_half(trials: Sequence[RungTrial], rung: int, *, maximize: bool) -> list[int]:
    """The ids of the better half of the trials that have reached a rung, best first."""
    reached = _ranked([trial for trial in trials if trial.epochs >= rung], rung, maximize=maximize)
    return reached[: len(reached) // REDUCTION]


def _ranked(trials: Sequence[RungTrial], rung: int, *, maximize: bool) -> list[int]:
    """The ids of trials that have reached a rung, best first; of equal ones the earlier first."""
    sign = -1 if maximize else 1
    return [found for _, found in sorted((sign * t.best_until(rung, maximize=maximize), t.trial_id) for t in trials)]
