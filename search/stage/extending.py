"""Stages that extend the stage before: the space grows, and all their trials are one pool.

The pool of a stage is that stage, the stages before it that it extends, and the later ones that extend it. Its trials
meet at the same rungs, and the sampler of a later stage learns from all of them. A trial that paused in an earlier
stage continues while a later one runs, because no epoch is trained twice and no good start is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.config import TrainConfig
from search import names
from search.store.records import StageRecord
from studies.definition import Space, Stage, Study


def pool_start(study: Study, position: int) -> int:
    """Position of the first stage of the pool that the stage at `position` belongs to."""
    while study.stages[position].extends:
        position -= 1
    return position


def is_extended(study: Study, position: int) -> bool:
    """Whether the next stage extends the stage at `position`."""
    return position + 1 < len(study.stages) and study.stages[position + 1].extends


def pool_end(study: Study, position: int) -> int:
    """Position of the last stage of the pool that the stage at `position` belongs to; the study's last stage is one."""
    while is_extended(study, position):
        position += 1
    return position


def earlier_studies(study: Study, position: int) -> tuple[str, ...]:
    """Names of the Optuna studies of the stages that the stage at `position` extends, in order."""
    start = pool_start(study, position)
    return tuple(names.optuna_study(study.name, at, study.stages[at].name) for at in range(start, position))


def pools(records: Sequence[StageRecord]) -> list[list[StageRecord]]:
    """The pinned stages of a study, in order and grouped by pool; a stage that shares no trials is a group."""
    found: list[list[StageRecord]] = []
    for record in records:
        if record.pinned.earlier:
            found[-1].append(record)
        else:
            found.append([record])
    return found


def extended(study: Study, position: int, stage: Stage) -> Stage:
    """The stage, which stands at `position`, with the parameters and values of the stages that it extends.

    A later entry for a parameter replaces an earlier one.
    """
    first, *between = study.stages[pool_start(study, position) : position]

    def space(base: TrainConfig) -> Space:
        return {name: entry for part in (first, *between, stage) for name, entry in part.space_around(base).items()}

    return replace(stage, space=space, values=first.values, bases=first.bases)
