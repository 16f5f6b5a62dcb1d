"""A gang of branches: trials whose networks have one shape, trained on a GPU as branches of one recorded step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from models.config import TrainConfig
from models.metric_names import bind_metric, is_recordable
from models.training.batch_protocols import PickedTraining, PickedValidation
from models.training.branch_limit import BranchLimit, branch_limit
from models.training.branches import FREE_FIELDS, BranchGang, branch_key
from models.training.capture import Capture, chosen_capture
from models.training.precision import compute_dtype
from search import names
from search.store.pinned_stage import PinnedStage
from search.trials.data_source import TrialData
from search.trials.open_gang import OpenGang
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun
from search.trials.workload import Workload, WorkloadBuilder

MOST_BRANCHES = 8
"""Branches per gang at most: more bring little, and the sampler gets no feedback while a gang trains."""
_WORTHWHILE_EPOCHS = 4
"""A gang whose trials train for fewer epochs in total ends before its step is recorded."""


def capture_on(device: torch.device) -> Capture | None:
    """Return what records steps on a device; None where nothing does, as on a CPU."""
    return chosen_capture("auto", device)


def may_branch(stage: PinnedStage, device: torch.device) -> bool:
    """Whether the stage's trials share network shapes, so that claiming several of them for one gang makes sense."""
    varied = {parameter.name for space in stage.spaces for parameter in space}
    if stage.rungs:
        return False  # A gang writes no checkpoints, so a trial that paused would start again.
    return capture_on(device) is not None and (stage.is_final or varied <= FREE_FIELDS | {names.BASE})


def shape_key(config: TrainConfig, context: TrialContext) -> tuple[object, ...] | None:
    """Trials whose configurations have equal keys can be branches of one recorded step; None: only alone."""
    return branch_key(config) if capture_on(context.device) is not None else None


def branches_that_pay(runs: Sequence[TrialRun]) -> int:
    """Return how many of these trials to train at once, measured for their network shape and remembered by the worker.

    Returns 1 where the images do not lie on the device, or where steps or the stage's metric cannot be recorded.
    """
    context, config = runs[0].context, runs[0].draw()
    epochs = sum(run.draw().epochs for run in runs)
    if epochs < _WORTHWHILE_EPOCHS or not is_recordable(runs[0].stage.metric):
        return 1
    key = (branch_key(config), *runs[0].stage.folds_of(runs[0].claim.number))
    if key not in context.branch_limits:
        with context.interruptible():
            data = context.workloads.open_data(config, runs[0].stage.folds_of(runs[0].claim.number)[0])
            limit = measure_branches(config, data, context.workloads, context.device, seed=runs[0].seed)
            context.branch_limits[key] = limit.count
    return min(context.branch_limits[key], len(runs))


def open_branches(runs: Sequence[TrialRun], fold: int) -> OpenGang:
    """Prepare the networks of these trials on one fold, each drawn from its trial's own seed as it would be alone."""
    context, configs = runs[0].context, [run.draw() for run in runs]
    with context.interruptible():
        data = context.workloads.open_data(configs[0], fold)
        works = [context.workloads.prepare(config, data, run.seed) for config, run in zip(configs, runs, strict=True)]
    first = works[0]
    capture = capture_on(context.device)
    assert capture and isinstance(first.train, PickedTraining) and isinstance(first.val, PickedValidation)
    gang = BranchGang(
        first.train, first.val,
        classes=len(data.search.classes), device=context.device, dtype=_dtype(first, configs[0], context.device),
        capture=capture, metric=bind_metric(runs[0].stage.metric, data.search.classes), on_batch=context.on_batch,
    )  # fmt: skip
    for work, config, run in zip(works, configs, runs, strict=True):
        gang.admit(work.learning, config, run.seed)

    def classifier(slot: int) -> nn.Module:
        return works[slot].model

    return OpenGang(
        configs=configs, epochs=gang, drop=gang.drop, classifier=classifier, data=data,
        preprocessing=first.preprocessing,
    )  # fmt: skip


def measure_branches(
    config: TrainConfig, data: TrialData, workloads: WorkloadBuilder, device: torch.device, *, seed: int = 0
) -> BranchLimit:
    """Measure how many trainings of this shape to run at once; one if they cannot be branches of a recorded step."""
    capture = capture_on(device)
    if capture is None or branch_key(config) is None:
        return BranchLimit(count=1)
    work = workloads.prepare(config, data, seed)
    if not (isinstance(work.train, PickedTraining) and work.train.resident and isinstance(work.val, PickedValidation)):
        return BranchLimit(count=1)
    return branch_limit(
        work.learning, config, work.train,
        classes=len(data.search.classes), device=device, dtype=_dtype(work, config, device),
        capture=capture, most=MOST_BRANCHES,
    )  # fmt: skip


def _dtype(work: Workload, config: TrainConfig, device: torch.device) -> torch.dtype:
    example_1CHW = next(iter(work.val)).images_NCHW[:1]
    work.learning.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return compute_dtype(config.precision, device, work.learning, example_1CHW, batch_size=work.train.batch_size)
