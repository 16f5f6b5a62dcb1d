"""Trains several trials as one gang, each with its own configuration and seed.

Each trial of a gang reports, is pruned and ends by itself. A gang has no checkpoints, since it takes seconds: a trial
whose worker is lost starts again, alone or in another gang. If a gang cannot be trained, for lack of memory or because
of a bug, each of its trials is trained alone, so that the error is recorded on the trial that causes it.

A kind of gang has a module with a key, by which trials are put together, and a function that opens a gang on a fold:
`search.trials.head_gang` and `search.trials.branch_gang`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import torch

from data.errors import LeaseLost
from models.config import TrainConfig
from models.registry import resolved
from models.training.metrics import EpochMetrics
from search.store.claims import Claim, Result
from search.store.pinned_stage import PinnedStage
from search.trials.branch_gang import MOST_BRANCHES, branches_that_pay, may_branch, open_branches, shape_key
from search.trials.faults import raise_unless_trial_at_fault
from search.trials.finalist_files import save_finalist
from search.trials.head_gang import head_key, open_heads
from search.trials.interruption import TimeIsUp
from search.trials.network_size import network_size
from search.trials.open_gang import OpenGang
from search.trials.run_trial import run_trial
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun

ROUNDS = 4
"""Minimum number of gangs that each worker trains in a stage: the sampler gets no feedback while a gang trains."""

Ended = tuple[Claim, Result]


def gang_limit(stage: PinnedStage, gang_size: int, device: torch.device, *, workers: int) -> int:
    """The number of the stage's trials that one of so many workers may train together; 1 if none can be."""
    if stage.is_probe:
        return 1
    if not all(base["model"] == "backbone" for base in stage.bases):
        if not may_branch(stage, device):
            return 1
        gang_size = min(gang_size, MOST_BRANCHES)
    # The runs of finalists are fixed in advance: no sampler waits for their results.
    share = math.ceil(stage.trials / workers) if stage.is_final else stage.trials // (ROUNDS * workers)
    return max(1, min(gang_size, share))


def member_key(run: TrialRun, config: TrainConfig) -> tuple[object, ...] | None:
    """Trials with equal keys can be trained together; a trial with None has to be trained alone."""
    if run.faults:
        return None
    return _key(config, run.context, run.stage.folds_of(run.claim.number))


def same_gang(run: TrialRun, key: tuple[object, ...]) -> list[int] | None:
    """Return the slots of a final stage that belong to the gang of `run`, whose key this is; None for other stages."""
    stage = run.stage
    if not stage.is_final:
        return None
    folds = tuple(stage.folds_of(run.claim.number))
    return [
        slot
        for slot, fixed in enumerate(stage.queue)
        if tuple(stage.folds_of(slot)) == folds and _key(resolved(stage.config(fixed)), run.context, folds) == key
    ]


def _key(config: TrainConfig, context: TrialContext, folds: Iterable[int]) -> tuple[object, ...] | None:
    key = head_key(config) or shape_key(config, context)
    return None if key is None else (*key, *folds)


def members_to_train(runs: Sequence[TrialRun]) -> int:
    """Return how many of these claimed trials, which have equal keys, to train as one gang."""
    if len(runs) == 1 or head_key(runs[0].draw()):
        return len(runs)
    return branches_that_pay(runs)


def run_gang(runs: Sequence[TrialRun]) -> Iterator[Ended]:
    """Train trials together and yield each one's result as it ends. A trial whose lease is lost ends without one."""
    running = {run.claim.number: run for run in runs}
    for run in runs:
        run.clock.gang = len(runs)
    try:
        for fold in runs[0].stage.folds_of(runs[0].claim.number):
            if running:
                yield from _run_fold(fold, running)
        for run in list(running.values()):
            yield run.claim, run.complete()
            del running[run.claim.number]
    except TimeIsUp:
        for run in running.values():
            yield run.claim, run.out_of_time()
        return
    except Exception as error:
        raise_unless_trial_at_fault(error, runs[0].context.device)
    # Not in the handler: the error's traceback keeps the gang's memory. Without an error, none is running here.
    if running:
        torch.cuda.empty_cache()
    for run in running.values():
        with suppress(LeaseLost):
            yield run.claim, run_trial(run.restarted())


def _run_fold(fold: int, running: dict[int, TrialRun]) -> Iterator[Ended]:
    """Train all trials in `running` on one fold; a trial that ends here leaves `running`."""
    runs = list(running.values())
    gang = open_heads(runs, fold) if head_key(runs[0].draw()) else open_branches(runs, fold)
    histories: list[list[EpochMetrics]] = [[] for _ in runs]
    for by_slot in runs[0].context.epochs(gang.epochs):
        for slot, metrics in by_slot.items():
            run = runs[slot]
            histories[slot].append(metrics)
            try:
                result = _early_result(run, metrics, gang.configs[slot])
            except LeaseLost:
                gang.drop(slot)
                run.context.epoch_log.discard(run.claim.trial_id)
                del running[run.claim.number]
                continue
            if result is not None:
                gang.drop(slot)
                yield run.claim, result
                del running[run.claim.number]
    for slot, (run, history) in enumerate(zip(runs, histories, strict=True)):
        if run.claim.number in running:
            run.end_fold(history)
            try:
                _keep_network(run, gang, slot)
            except LeaseLost:
                del running[run.claim.number]


def _early_result(run: TrialRun, metrics: EpochMetrics, config: TrainConfig) -> Result | None:
    """Report an epoch; returns the trial's result if the trial diverged, or ends or pauses here."""
    if not (math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss)):
        return run.pruned(f"epoch {metrics.epoch}: the loss is no longer finite")
    return run.record(metrics, config)


def _keep_network(run: TrialRun, gang: OpenGang, slot: int) -> None:
    """Note the size of a trial's network and, for a finalist, save it. Raises LeaseLost."""
    model, config = gang.classifier(slot), gang.configs[slot]
    run.attributes |= network_size(model, config, gang.data)
    if run.stage.is_final:
        save_finalist(run, model, gang.data, config, gang.preprocessing)
