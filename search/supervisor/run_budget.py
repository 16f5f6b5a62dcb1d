"""Estimates the time of a run on its first device, and makes the time budget from the estimate."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from data.arrays import SearchData
from models.config import TrainConfig
from models.registry import resolved
from search.devices import threads_per_worker
from search.stage.budget import Budget, TimeBudget, UnlimitedBudget
from search.stage.combining_time import PassTimes
from search.supervisor.prepare import Request

if TYPE_CHECKING:
    import torch

    from models.training.branch_limit import BranchLimit
    from search.supervisor.estimate import StageCost
    from search.trials.workload import WorkloadBuilder

Measured = TypeVar("Measured")


def run_budget(request: Request, images: SearchData, started_at: float, *, test: bool) -> Budget:
    """The budget of a run that began at `started_at` (`time.monotonic()`); without `--budget` it has no limits."""
    if request.budget_s is None:
        return UnlimitedBudget(request.study)
    costs = estimate_run(request, images)  # This takes some of the time itself.
    left_s = request.budget_s - (time.monotonic() - started_at)
    return time_budget(
        request, left_s, costs, test=test,
        measure_passes=partial(_passes, request, images),
        measure_gang=None if request.devices == ("cpu",) else partial(_gang, request, images),
    )  # fmt: skip


def time_budget(
    request: Request,
    left_s: float,
    costs: Sequence[StageCost],
    *,
    test: bool,
    measure_passes: Callable[[Sequence[TrainConfig]], PassTimes] | None = None,
    measure_gang: Callable[[TrainConfig], BranchLimit] | None = None,
) -> TimeBudget:
    """Spread `left_s` seconds over the stages in proportion to their costs; `test` reserves time for the test set.

    Without the measurements, the time for combining runs does not depend on their networks, and runs are expected to
    be trained as the trials of the search were.
    """
    saving_s, workers = costs[-1].saving_s, max(1, request.workers)
    costs_s = [*(cost.wall_s for cost in costs[:-1]), costs[-1].wall_s - saving_s]
    return TimeBudget(
        request.study, left_s, costs_s, workers,
        saving_s=saving_s, test=test, measure_passes=measure_passes, measure_gang=measure_gang,
    )  # fmt: skip


def estimate_run(request: Request, images: SearchData) -> list[StageCost]:
    """The expected cost of each stage and of the end, from a short measurement on the first device.

    `images` are those that the study's start configuration is trained on.
    """
    import torch

    from models.training.process import tune_process
    from search.supervisor.estimate import estimate

    workloads, device = _open_workloads(request, images)
    threads = torch.get_num_threads()
    # As a worker trains; with all cores a step took five times as long. A worker on a Ray cluster has one thread.
    tune_process(1 if request.share else threads_per_worker(device.type, request.workers))
    try:
        return estimate(request.study, workloads, device, max(1, request.workers))
    finally:
        torch.set_num_threads(threads)  # The promotion has all cores for itself.
        torch.cuda.empty_cache()  # Workers need the memory.


def _passes(request: Request, images: SearchData, configs: Sequence[TrainConfig]) -> PassTimes:
    """Time passes with all cores, as the promotion has them."""
    from search.supervisor.measure_passes import measure_passes

    return _on_first_device(request, images, partial(measure_passes, configs))


def _gang(request: Request, images: SearchData, config: TrainConfig) -> BranchLimit:
    """Measure how a GPU trains runs of this configuration together."""
    from search.supervisor.measure_gang import measure_gang

    return _on_first_device(request, images, partial(measure_gang, config))


def _on_first_device(
    request: Request, images: SearchData, measure: Callable[[WorkloadBuilder, torch.device], Measured]
) -> Measured:
    """What `measure` finds; the memory that it took on the device is free afterwards."""
    import torch

    try:
        return measure(*_open_workloads(request, images))  # Nothing else may keep the images on the device.
    finally:
        torch.cuda.empty_cache()  # Workers need the memory.


def _open_workloads(request: Request, images: SearchData) -> tuple[WorkloadBuilder, torch.device]:
    """Open the workloads on the run's first device."""
    import torch

    from search.trials.workload import open_workload_builder

    device = torch.device(request.devices[0])
    workloads = open_workload_builder(request.spec, request.settings, device)
    workloads.add_data(resolved(request.study.config), images)
    return workloads, device
