"""Estimates the time of a run on its first device, and makes the time budget from the estimate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from models.config import TrainConfig
from search.stage.budget import Budget, TimeBudget, UnlimitedBudget
from search.stage.combining_time import PassTimes
from search.supervisor.prepare import Request

if TYPE_CHECKING:
    import torch

    from search.supervisor.estimate import StageCost
    from search.trials.workload import WorkloadBuilder


def run_budget(request: Request, started_at: float, *, test: bool) -> Budget:
    """The budget of a run that began at `started_at` (`time.monotonic()`); without `--budget` it has no limits."""
    if request.budget_s is None:
        return UnlimitedBudget(request.study)
    costs = estimate_run(request)  # This takes some of the time itself.
    return time_budget(request, request.budget_s - (time.monotonic() - started_at), costs, test=test)


def time_budget(request: Request, left_s: float, costs: Sequence[StageCost], *, test: bool) -> TimeBudget:
    """Spread `left_s` seconds over the stages in proportion to their costs; `test` reserves time for the test set."""
    costs_s = [cost.wall_s for cost in costs]
    return TimeBudget(
        request.study, left_s, costs_s, max(1, request.workers), test=test, measure_passes=partial(_passes, request)
    )


def estimate_run(request: Request) -> list[StageCost]:
    """The expected cost of each stage and of the end, from a short measurement on the first device."""
    from search.supervisor.estimate import estimate

    workloads, device = _open_workloads(request)
    return estimate(request.study, workloads, device, max(1, request.workers))


def _passes(request: Request, configs: Sequence[TrainConfig]) -> PassTimes:
    from search.supervisor.measure_passes import measure_passes

    return measure_passes(configs, *_open_workloads(request))


def _open_workloads(request: Request) -> tuple[WorkloadBuilder, torch.device]:
    """Open the workloads on the run's first device."""
    import torch

    from search.trials.workload import open_workload_builder

    device = torch.device(request.devices[0])
    return open_workload_builder(request.spec, request.settings, device), device
