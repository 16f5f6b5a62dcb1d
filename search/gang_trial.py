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
from search.claims import Claim, Result
from search.course import BELOW_THE_LINE, OUT_OF_TIME, Course
from search.faults import raise_unless_its_own
from search.pinning import PinnedStage
from search.trial import TimeIsUp, run_trial

ROUNDS = 4
"""Gangs of a stage at least, since the sampler learns nothing while one is in training."""

Ended = tuple[Claim, Result]


def gang_limit(stage: PinnedStage, most: int) -> int:
    """How many trials of a stage may be trained at once, `most` at most; 1 where none can be."""
    if any(base["model"] != "backbone" for base in stage.bases):
        return 1
    return max(1, min(most, stage.trials // ROUNDS))


def member_key(course: Course, config: TrainConfig) -> tuple[object, ...] | None:
    """Trials with equal keys can be trained together; None: only alone."""
    if not isinstance(config, BackboneConfig) or config.weights == NONE or course.faults:
        return None
    key = gang_key(config)
    return None if key is None else (*key, *course.stage.folds_of(course.claim.number))


def run_gang(courses: Sequence[Course]) -> Iterator[Ended]:
    """Train trials together and give each one's result as it ends. A trial whose lease is lost ends without one."""
    running = {course.claim.number: course for course in courses}
    for course in courses:
        course.in_gang = True
    try:
        for fold in courses[0].stage.folds_of(courses[0].claim.number):
            if running:
                yield from _run_fold(fold, running)
        for course in list(running.values()):
            yield course.claim, course.complete()
            del running[course.claim.number]
    except TimeIsUp:
        for course in running.values():
            yield course.claim, course.pruned(OUT_OF_TIME)
    except Exception as error:
        raise_unless_its_own(error, courses[0].context.device)
        for course in running.values():
            with suppress(LeaseLost):
                yield course.claim, run_trial(course.begun_again())


def _run_fold(fold: int, running: dict[int, Course]) -> Iterator[Ended]:
    """Train all that still run on one division of the images; whoever ends here leaves `running`."""
    courses = list(running.values())
    configs = [_drawn(course) for course in courses]
    context, stage = courses[0].context, courses[0].stage
    with context.interruptible():
        data = context.workshop.open_data(configs[0], fold)
        work = context.workshop.prepare(configs[0], data, courses[0].seed)
    model, classes = work.model, len(data.search.classes)
    assert isinstance(model, BackboneClassifier)
    assert isinstance(work.train, FeatureTrainBatches) and isinstance(work.val, FeatureEvalBatches)
    heads = [_head(model, config, course.seed, classes) for config, course in zip(configs, courses, strict=True)]
    gang = Gang(
        heads, work.train, work.val, configs,
        classes=classes, device=context.device, seeds=[course.seed for course in courses], metric=stage.metric,
    )  # fmt: skip
    histories: list[list[EpochMetrics]] = [[] for _ in courses]
    for by_slot in context.epochs(gang):
        for slot, metrics in by_slot.items():
            course = courses[slot]
            histories[slot].append(metrics)
            try:
                result = _end_of(course, metrics, configs[slot])
            except LeaseLost:
                gang.drop(slot)
                context.epoch_log.discard(course.claim.trial_id)
                del running[course.claim.number]
                continue
            if result is not None:
                gang.drop(slot)
                yield course.claim, result
                del running[course.claim.number]
    for course, config, head, history in zip(courses, configs, heads, histories, strict=True):
        if course.claim.number in running:
            course.end_fold(history)
            model.head = head.to(context.device)
            course.count_parameters(model)
            if stage.is_confirmation:
                try:
                    course.keep(model, data, config, work.seen)
                except LeaseLost:
                    del running[course.claim.number]


def _end_of(course: Course, metrics: EpochMetrics, config: TrainConfig) -> Result | None:
    """Report an epoch; the trial's result, if it ends here before its time."""
    if not (math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss)):
        return course.pruned(f"epoch {metrics.epoch}: the loss is no longer finite")
    return course.pruned(BELOW_THE_LINE) if course.record(metrics, config) else None


def _drawn(course: Course) -> BackboneConfig:
    config = course.draw()
    assert isinstance(config, BackboneConfig)
    return config


def _head(model: BackboneClassifier, config: BackboneConfig, seed: int, classes: int) -> nn.Sequential:
    """The head as the trial would have it alone: drawn from its own seed."""
    first = next(layer for layer in model.head.modules() if isinstance(layer, nn.Linear))
    torch.manual_seed(seed)
    return build_head(config, first.in_features, classes)
