"""Estimates the time of a probe stage: one backbone is timed, the others follow from their multiply-accumulates."""

from __future__ import annotations

import time
from statistics import fmean

import torch

from data.arrays import ImageSet
from data.augment import Augmentation
from data.errors import InfeasibleConfig, UserError
from models.config import BackboneConfig, TrainConfig
from models.finetuning import BackboneClassifier
from models.network_cost import network_cost
from models.registry import resolved
from models.training.extraction import Extraction
from models.training.features import split_at_border
from models.values import with_values
from models.weights import NONE
from search.trials.data_source import TrialData
from search.trials.probe_trial import probing, sampled
from search.trials.workload import WorkloadBuilder, input_statistics
from studies.definition import Study
from studies.probe import Probe

_TIMED_IMAGES = 16


def typical_candidate(probe: Probe, base: TrainConfig) -> TrainConfig:
    """The base with the backbone in the middle of the list, and random weights, so that nothing has to be downloaded.

    Backbones that need a library which is not installed do not count.
    """
    known = [config for config in probe.configs(base) if _macs(config)]
    return with_values(base, {"backbone": known[len(known) // 2].backbone, "weights": NONE}) if known else base


def probe_s(study: Study, probe: Probe, base: TrainConfig, workloads: WorkloadBuilder, device: torch.device) -> float:
    """Mean seconds in which one worker passes all images through a backbone of the list."""
    timed = typical_candidate(probe, base)
    config = resolved(probing(timed))
    assert isinstance(config, BackboneConfig)
    data = sampled(workloads.open_data(config), probe.images, study.seed)
    images = len(data.search.train) + len(data.search.val)
    ratio = fmean(macs for config in probe.configs(base) if (macs := _macs(config))) / _macs(config)
    return images * _image_s(config, data, workloads, device) * ratio


def _image_s(config: BackboneConfig, data: TrialData, workloads: WorkloadBuilder, device: torch.device) -> float:
    model = workloads.build(config, data)
    assert isinstance(model, BackboneClassifier)
    split = split_at_border(model)
    assert split is not None
    train = data.search.train
    few = ImageSet(
        pool_NHWC=train.pool_NHWC, rows_M=train.rows_M[:_TIMED_IMAGES], labels_M=train.labels_M[:_TIMED_IMAGES]
    )
    extract = Extraction(split[0], few, config, input_statistics(config, data), Augmentation(), device)
    extract(0, len(few))  # The first pass is slower.
    started_s = time.perf_counter()
    extract(0, len(few))
    return (time.perf_counter() - started_s) / len(few)


def _macs(config: BackboneConfig) -> int:
    """Multiply-accumulates of a backbone; 0 if it cannot be built here, since its trial ends at once."""
    try:
        return network_cost(config).macs
    except (UserError, InfeasibleConfig):
        return 0
