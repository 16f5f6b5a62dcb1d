"""Trains a trial of a probe stage: a linear classifier on the stored features of one backbone.

The features stay in the store, so a trial whose worker was lost goes on with those that were computed, and later stages
with the same frozen backbone find them there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from torch import nn

from data.arrays import ImageSet
from data.augment import Augmentation
from data.disk_trouble import disk_trouble
from data.errors import InfeasibleConfig, UserError
from data.splits import stratified_sample
from models.config import BackboneConfig, TrainConfig
from models.free_memory import free_memory
from models.metric_names import bind_metric
from models.network_cost import network_cost
from models.registry import fetch_weights
from models.training.feature_batches import FeatureEvalBatches, FeatureTrainBatches
from models.training.linear_probe import FittedProbe, fit_probes
from models.training.metrics import EpochMetrics, Scores
from models.training.process import memory_mib
from models.training.scoring import evaluate
from search import names
from search.store.claims import Result
from search.trials.data_source import TrialData
from search.trials.network_size import network_size
from search.trials.trial_run import TrialRun
from search.trials.workload import Workload

_COPIES = 4
"""Copies of a backbone's weights that loading it keeps in memory: the file, the network, its copy, and a margin."""


def probing(config: TrainConfig) -> BackboneConfig:
    """The configuration with which a backbone is probed: frozen, no augmentation, a linear head."""
    assert isinstance(config, BackboneConfig)
    plain = BackboneConfig()
    off = {entry.name: getattr(plain, entry.name) for entry in fields(Augmentation)}
    return replace(
        config, **off, freezing="freeze_all", train_batch_norm=False, head_width=0, dropout=0.0, sampling="shuffled"
    )


def run_probe(run: TrialRun) -> Result:
    """Probe the trial's backbone on each fold; returns the trial's result.

    Raises InfeasibleConfig if its weights cannot be had, or if the machine or the feature store cannot hold it.
    """
    config = _available(run)
    own = probing(config)
    for fold in run.stage.folds_of(run.claim.number):
        started_s = time.perf_counter()
        with run.context.interruptible():
            data = sampled(run.context.workloads.open_data(own, fold), run.stage.probe_images, run.stage.seed)
            work = run.context.workloads.prepare(own, data, run.seed)
        run.attributes |= network_size(work.model, own, data)
        run.attributes[names.MACS] = network_cost(own).macs + _head_of(work).weight.numel()
        for metrics in run.context.epochs(_fit(run, work, data.search.classes, started_s)):
            run.record(metrics, config)
            run.end_fold([metrics])
    return run.complete()


def _available(run: TrialRun) -> TrainConfig:
    """The trial's configuration, once it is certain that this machine can load its backbone."""
    try:
        config = run.draw()
        own = probing(config)
        needed = _COPIES * 4 * network_cost(own).parameters
        free = free_memory()
        if needed > free:
            raise InfeasibleConfig(
                f"{own.backbone} needs {needed / 2**20:,.0f} MiB to be loaded; {free / 2**20:,.0f} MiB are free"
            )
        with run.context.interruptible():
            fetch_weights(own)
    except UserError as error:
        if disk_trouble(error):
            raise
        raise InfeasibleConfig(str(error)) from error
    return config


def sampled(data: TrialData, count: int, seed: int) -> TrialData:
    """The data with at most `count` training and `count` validation images, sampled from each class in proportion."""

    def few(images: ImageSet) -> ImageSet:
        if len(images) <= count:
            return images
        marked_M = stratified_sample(images.labels_M, count, seed)
        return replace(images, rows_M=images.rows_M[marked_M], labels_M=images.labels_M[marked_M])

    return replace(data, search=replace(data.search, train=few(data.search.train), val=few(data.search.val)))


def _fit(run: TrialRun, work: Workload, classes: Sequence[str], started_s: float) -> Iterator[EpochMetrics]:
    """Fit the classifier and yield its metrics as those of a single epoch. Its weights go into the network's head."""
    train, val, device = work.train, work.val, run.context.device
    metric, on_batch = bind_metric(run.stage.metric, classes), run.context.on_batch
    if not isinstance(train, FeatureTrainBatches) or not isinstance(val, FeatureEvalBatches):
        raise InfeasibleConfig("its features do not fit into the feature store; free some disk space below --home")
    extracted_s = time.perf_counter()
    scores: dict[nn.Linear, Scores] = {}

    def judge(head: nn.Linear) -> tuple[float, ...]:
        found = evaluate(head, val, classes=len(classes), device=device, measure=metric, on_batch=on_batch)
        scores[head] = found
        value = getattr(found, run.stage.metric.removeprefix("val_"), found.measured)
        assert value is not None
        return (value if run.stage.maximize else -value), -found.loss

    every_M = torch.from_numpy(np.arange(len(train.images.labels_M))).to(train.images.rows_M.device)
    probe = fit_probes(*train.take(every_M), len(classes), judge, on_step=on_batch)
    _head_of(work).load_state_dict(probe.head.state_dict())
    run.attributes[names.PROBE] = _describe(probe, len(every_M), extracted_s - started_s, extracted_s)
    yield _metrics(probe, scores[probe.head], len(every_M), started_s, device)


def _describe(probe: FittedProbe, images: int, features_s: float, extracted_s: float) -> dict[str, float]:
    return {
        "weight_decay": probe.weight_decay,
        "features": probe.head.in_features,
        "images": images,
        "features_s": round(features_s, 3),
        "fit_s": round(time.perf_counter() - extracted_s, 3),
    }


def _metrics(probe: FittedProbe, val: Scores, images: int, started_s: float, device: torch.device) -> EpochMetrics:
    duration_s = time.perf_counter() - started_s
    return EpochMetrics(
        epoch=1,
        train_loss=probe.train_loss,
        train_accuracy=probe.train_accuracy,
        val_loss=val.loss,
        val_accuracy=val.accuracy,
        val_macro_f1=val.macro_f1,
        val_metric=val.measured,
        learning_rate=1.0,  # That of L-BFGS, before its line search.
        duration_s=duration_s,
        images_per_s=images / duration_s,
        memory_mib=memory_mib(device),
    )


def _head_of(work: Workload) -> nn.Linear:
    last = work.model.get_submodule("head")[-1]  # type: ignore[index]
    assert isinstance(last, nn.Linear)
    return last
