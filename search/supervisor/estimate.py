"""Estimates the time of a study from a short measurement on the device that will train it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch

from data.arrays import ImageSet
from data.batches import to_device
from data.errors import InfeasibleConfig, SieveError, TrainingDiverged
from models.config import TrainConfig
from models.registry import resolved
from models.training.fit import fit
from models.values import with_values
from search.stage.confirmation_size import FIRST_RUN_S, RUN_S
from search.stage.extending import pool_start
from search.stage.pinning import pin_search
from search.stage.rungs import expected_epochs
from search.supervisor.estimate_probe import probe_s, typical_candidate
from search.supervisor.measure_passes import measure_passes
from search.supervisor.memory import lacks_memory
from search.trials.data_source import TrialData
from search.trials.workload import WorkloadBuilder
from studies.definition import Stage, Study
from studies.probe import Probe

MEASURED_BATCHES = 4
"""Batches in each of the two epochs that are measured."""
RECORDED_STEPS = 50
"""Steps that are measured on a GPU if they are short: `fit` records a step for as many."""
SHORT_STEP_S = 0.03
"""A shorter step takes a GPU several times as long if it is not recorded, and trainings record it."""
DRAWS = 2
"""Number of configurations drawn from a stage's space and timed in addition to its start, for each image size."""
EPOCH_DRAWS = 16
"""Number of drawn configurations whose epochs are averaged if a stage varies `epochs`."""
SHARE_AFTER_PRUNING = 0.6
"""The share of its planned epochs that a stage with a pruner trains: a rule of thumb, corrected from stage to stage."""


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """The expected time of one stage, or of the confirmation or ablation."""

    name: str
    trials: int
    epochs: float
    """Epochs of one trial, before pruning."""
    epoch_s: float
    """Seconds of one epoch on one worker."""
    wall_s: float
    """Seconds of the whole stage with all workers."""
    saving_s: float = 0.0
    """Those of them in which the runs of the last stage do not train: they predict the validation images and save
    their classifiers."""


def estimate(study: Study, workloads: WorkloadBuilder, device: torch.device, workers: int) -> list[StageCost]:
    """The expected time of each stage in order and, last, of the confirmation or ablation.

    Measures for a few seconds for each image size. Raises SieveError if no configuration of a size can be trained.
    """
    epoch_s_of_size: dict[int, float] = {}

    def measure(sample: Sequence[TrainConfig]) -> float:
        size = resolved(sample[0]).image_size
        if size not in epoch_s_of_size:
            timed = [_epoch_s(config, workloads, device) for config in sample]
            measured = [seconds for seconds in timed if seconds is not None]
            if not measured:
                raise SieveError(
                    f"{study.name}: neither the start configuration nor {DRAWS} others can be trained at {size} pixels"
                )
            epoch_s_of_size[size] = fmean(measured)
        return epoch_s_of_size[size]

    costs = []
    for position, stage in enumerate(study.stages):
        if isinstance(stage, Probe):
            costs.append(_probe_cost(study, position, stage, workloads, device, workers))
            continue
        epoch_s = measure(_sample(study, position, DRAWS))
        folds = max(1, study.folds)
        epochs = folds * fmean(config.epochs for config in _sample(study, position, EPOCH_DRAWS))
        first = pool_start(study, position)
        bases = [study.config] * (study.stages[first].bases if first else 1)
        trials = pin_search(study, position, stage, bases).trials
        kept = _share_trained(stage, trials)
        wall_s = trials * epochs * epoch_s * kept / min(workers, trials)
        costs.append(StageCost(name=stage.name, trials=trials, epochs=epochs, epoch_s=epoch_s, wall_s=wall_s))
    ending, sample = study.ending, _ending_sample(study)
    epoch_s = measure(sample)
    runs, epochs = ending.candidates * ending.seeds, ending.epochs or costs[-1].epochs / max(1, study.folds)
    run_s = RUN_S + measure_passes(sample, workloads, device).val_s
    saving_s = FIRST_RUN_S + runs * run_s / min(workers, runs)
    wall_s = runs * epochs * epoch_s / min(workers, runs) + saving_s
    last = StageCost(
        name=ending.name, trials=runs, epochs=epochs, epoch_s=epoch_s, wall_s=wall_s, saving_s=saving_s
    )  # fmt: skip
    return [*costs, last]


def _probe_cost(
    study: Study, position: int, probe: Probe, workloads: WorkloadBuilder, device: torch.device, workers: int
) -> StageCost:
    folds = max(1, study.folds)
    seconds = probe_s(study, probe, _handed_on(study, position), workloads, device)
    wall_s = probe.trials * seconds / min(workers, probe.trials)  # Folds share their features.
    return StageCost(name=probe.name, trials=probe.trials, epochs=folds, epoch_s=seconds / folds, wall_s=wall_s)


def _share_trained(stage: Stage, trials: int) -> float:
    """The share of its planned epochs that a stage trains after pruning."""
    if stage.pruner == "asha":
        return expected_epochs(stage.epochs) / stage.epochs
    return 1.0 if stage.pruner == "none" or trials < 6 else SHARE_AFTER_PRUNING


def _ending_sample(study: Study) -> list[TrainConfig]:
    """The configuration that the confirmation starts from, or the ablation's first, middle and last cell."""
    handed_on = _handed_on(study, len(study.stages))
    if study.ablation is None:
        return [with_values(handed_on, study.confirm.values)]
    ablation, cells = study.ablation, study.ablation.cells()
    return [with_values(handed_on, ablation.values(cell)) for cell in (cells[0], cells[len(cells) // 2], cells[-1])]


def _sample(study: Study, position: int, draws: int) -> list[TrainConfig]:
    """A stage's start configuration and a few drawn from its space."""
    random = replace(study.stages[position], sampler="random", trials=1 + draws)
    pinned = pin_search(study, position, random, [_handed_on(study, position)])
    return [pinned.config(params) for params in pinned.queue]


def _handed_on(study: Study, position: int) -> TrainConfig:
    """The start configuration with the values that the stages before this position set.

    After a probe it has a backbone of medium size.
    """
    earlier = study.stages[:position]
    config = with_values(study.config, {k: v for stage in earlier for k, v in stage.values.items()})
    probes = [stage for stage in earlier if isinstance(stage, Probe)]
    return typical_candidate(probes[-1], config) if probes else config


def _epoch_s(config: TrainConfig, workloads: WorkloadBuilder, device: torch.device) -> float | None:
    """Seconds of an epoch on all images, scaled up from a short one; None if the configuration cannot be trained."""
    config = resolved(config)
    try:
        data = workloads.open_data(config)
        seconds = _scaled_epoch_s(config, data, MEASURED_BATCHES, workloads, device)
        batches = len(data.search.train) / config.batch_size
        if device.type == "cuda" and seconds / batches < SHORT_STEP_S:
            return _scaled_epoch_s(config, data, RECORDED_STEPS // 2, workloads, device, steps=RECORDED_STEPS)
        return seconds
    except (InfeasibleConfig, TrainingDiverged):
        return None
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        return None


def _scaled_epoch_s(
    config: TrainConfig,
    data: TrialData,
    batches: int,
    workloads: WorkloadBuilder,
    device: torch.device,
    *,
    steps: int = 0,
) -> float:
    """Seconds of an epoch on all images, from the last of two or more epochs of about this many batches.

    There are as many epochs as it takes for this many steps.
    """
    classes, images = len(data.search.classes), len(data.search.train)
    share = min(1.0, batches * config.batch_size / images)
    epochs = max(2, math.ceil(steps / max(1, int(share * images) // config.batch_size)))
    config = with_values(config, {"epochs": epochs, "patience": 0})
    few = replace(
        data,
        train=to_device(_first(data.search.train, share), device),
        val=to_device(_first(data.search.val, share), device),
    )
    work = workloads.prepare(config, few, seed=0)
    history = list(fit(work.learning, work.train, work.val, config, classes=classes, device=device, seed=0))
    return history[-1].duration_s / share


def _first(images: ImageSet, share: float) -> ImageSet:
    count = max(1, round(len(images) * share))
    return ImageSet(pool_NHWC=images.pool_NHWC, rows_M=images.rows_M[:count], labels_M=images.labels_M[:count])


def total_s(costs: Sequence[StageCost]) -> float:
    """The expected wall time of the whole study, in seconds."""
    return sum(cost.wall_s for cost in costs)
