"""Estimates when a study will end: the epochs still to train, divided by the recent pace."""

from __future__ import annotations

import time
from collections.abc import Sequence

from search.stage.snapshot import Snapshot
from search.store.study_definition import StudyDefinition

EXPECTED_SHARE = 0.7
"""The share of its planned epochs that a stage is expected to train, the rest being pruned."""


def planned_epochs(definition: StudyDefinition, folds: int) -> list[float]:
    """Epochs that each search stage is expected to train and, last, the confirmation or the ablation."""
    stages, ending = definition.stages, definition.ending
    searched = [stage.trials * stage.epochs * max(1, folds) * EXPECTED_SHARE for stage in stages]
    return [*searched, ending.candidates * ending.seeds * (ending.epochs or stages[-1].epochs)]


def time_left_s(snapshot: Snapshot, planned: Sequence[float], deadline: float | None) -> float | None:
    """Seconds to the end of the search, or to the deadline if that is sooner; None if it cannot be estimated yet.

    `planned` comes from `planned_epochs`; stages that are pinned use their own numbers instead. `deadline` is in
    seconds since the epoch.
    """
    left_s = None if deadline is None else max(0.0, deadline - time.time())
    if snapshot.epochs_per_s is None:
        return left_s
    begun = sum(stage.epochs_planned * (stage.running + stage.waiting) / stage.planned for stage in snapshot.stages)
    eta_s = (begun + sum(planned[len(snapshot.stages) :])) / snapshot.epochs_per_s
    return eta_s if left_s is None else min(eta_s, left_s)
