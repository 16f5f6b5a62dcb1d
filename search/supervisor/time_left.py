"""Estimates when a study will end: the epochs still to train, divided by the recent pace."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from search.stage.snapshot import Snapshot

EXPECTED_SHARE = 0.7
"""The share of its planned epochs that a stage is expected to train, the rest being pruned."""


def stage_names(definition: Mapping[str, Any]) -> list[str]:
    """Names of a study's search stages in order, from its pinned definition."""
    return [key.split("-", 1)[1] for key in definition["stages"]]


def planned_epochs(definition: Mapping[str, Any], folds: int) -> list[float]:
    """Epochs that each search stage is expected to train and, last, the confirmation or the ablation."""
    stages = list(definition["stages"].values())
    searched = [stage["trials"] * stage["epochs"] * max(1, folds) * EXPECTED_SHARE for stage in stages]
    if ablation := definition.get("ablation"):
        cells = prod(len(levels) for levels in ablation["factors"].values())
        return [*searched, cells * ablation["seeds"] * ablation["epochs"]]
    confirm = definition["confirm"]
    return [*searched, confirm["finalists"] * confirm["seeds"] * (confirm["epochs"] or stages[-1]["epochs"])]


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
