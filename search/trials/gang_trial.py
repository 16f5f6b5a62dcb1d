"""Several trials trained as one gang: heads on the same frozen features, each with its own configuration and seed.

Each trial reports, is pruned and ends by itself. A gang has no checkpoints: it takes seconds, and a trial whose worker
is lost starts again, alone or in another gang. Where a gang cannot be trained, for want of memory or because of a bug,
each of its trials is trained alone, and told what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch
from torch import nn

from data.errors import LeaseLost
from models.config import BackboneConfig, TrainConfig
from models.finetuning import BackboneClassifier, build_head
from models.training.features import FeatureEvalBatches, FeatureTrainBatches
from models.training.gang import Gang, gang_key
from models.training.metrics import EpochMetrics
from models.weights import NONE
from search.stage.pinned import PinnedStage
from search.store.claims import Claim, Result
from search.trials.faults import raise_unless_trial_at_fault
from search.trials.run_trial import TimeIsUp, run_trial
from search.trials.trial_run import BELOW_THE_LINE, TrialRun

ROUNDS = 4
"""Gangs of a stage at least, since the sampler learns nothing while one is in training."""

Ended = tuple[Claim, Result]


def gang_limit(stage: PinnedStage, most: int) -> int:
    """How many trials of a stage may be trained at once, `most` at most; 1 where none can be."""
    if any(base["model"] != "backbone" for base in stage.bases):
        return 1
    return max(1, min(most, stage.trials // ROUNDS))


def member_key(run: TrialRun, config: TrainConfig) -> tuple[object, ...] | None:
    """Trials with equal keys can be trained together; None: only alone."""
    if not isinstance(config, BackboneConfig) or config.weights == NONE or run.faults:
        return None
    key = gang_key(config)
    return None if key is None else (*key, *run.stage.folds_of(run.claim.number))


def run_gang(runs: Sequence[TrialRun]) -> Iterator[Ended]:
    """Train trials together and give each one's result as it ends. A trial whose lease is lost ends without one."""
    running = {run.claim.number: run for run in runs}
    for run in runs:
        run.in_gang = True
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
    except Exception as error:
        raise_unless_trial_at_fault(error, runs[0].context.device)
        for run in running.values():
            with suppress(LeaseLost):
                yield run.claim, run_trial(run.begun_again())


def _run_fold(fold: int, running: dict[int, TrialRun]) -> Iterator[Ended]:
    """Train all that still run on one division of the images; whoever ends here leaves `running`."""
    runs = list(running.values())
    configs = [_drawn(run) for run in runs]
    context, stage = runs[0].context, runs[0].stage
    with context.interruptible():
        data = context.workloads.open_data(configs[0], fold)
        work = context.workloads.prepare(configs[0], data, runs[0].seed)
    model, classes = work.model, len(data.search.classes)
    assert isinstance(model, BackboneClassifier)
    assert isinstance(work.train, FeatureTrainBatches) and isinstance(work.val, FeatureEvalBatches)
    heads = [_head(model, config, run.seed, classes) for config, run in zip(configs, runs, strict=True)]
    gang = Gang(
        heads, work.train, work.val, configs,
        classes=classes, device=context.device, seeds=[run.seed for run in runs], metric=stage.metric,
    )  # fmt: skip
    histories: list[list[EpochMetrics]] = [[] for _ in runs]
    for by_slot in context.epochs(gang):
        for slot, metrics in by_slot.items():
            run = runs[slot]
            histories[slot].append(metrics)
            try:
                result = _end_of(run, metrics, configs[slot])
            except LeaseLost:
                gang.drop(slot)
                context.epoch_log.discard(run.claim.trial_id)
                del running[run.claim.number]
                continue
            if result is not None:
                gang.drop(slot)
                yield run.claim, result
                del running[run.claim.number]
    for run, config, head, history in zip(runs, configs, heads, histories, strict=True):
        if run.claim.number in running:
            run.end_fold(history)
            model.head = head.to(context.device)
            run.count_parameters(model)
            if stage.is_final:
                try:
                    run.keep(model, data, config, work.seen)
                except LeaseLost:
                    del running[run.claim.number]


def _end_of(run: TrialRun, metrics: EpochMetrics, config: TrainConfig) -> Result | None:
    """Report an epoch; the trial's result, if it ends here before its time."""
    if not (math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss)):
        return run.pruned(f"epoch {metrics.epoch}: the loss is no longer finite")
    return run.pruned(BELOW_THE_LINE) if run.record(metrics, config) else None


def _drawn(run: TrialRun) -> BackboneConfig:
    config = run.draw()
    assert isinstance(config, BackboneConfig)
    return config


def _head(model: BackboneClassifier, config: BackboneConfig, seed: int, classes: int) -> nn.Sequential:
    """The head as the trial would have it alone: drawn from its own seed."""
    first = next(layer for layer in model.head.modules() if isinstance(layer, nn.Linear))
    torch.manual_seed(seed)
    return build_head(config, first.in_features, classes)
