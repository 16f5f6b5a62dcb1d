"""A gang of heads: trials with the same frozen network, whose heads are trained together on its stored features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from models.config import BackboneConfig, TrainConfig
from models.finetuning import BackboneClassifier, build_head
from models.metric_names import bind_metric
from models.training.feature_batches import FeatureEvalBatches, FeatureTrainBatches
from models.training.gang import Gang, gang_key
from models.weights import NONE
from search.trials.open_gang import OpenGang
from search.trials.trial_run import TrialRun


def head_key(config: TrainConfig) -> tuple[object, ...] | None:
    """Trials whose configurations have equal keys can be trained as one gang of heads; None: not as heads."""
    if not isinstance(config, BackboneConfig) or config.weights == NONE:
        return None
    return gang_key(config)


def open_heads(runs: Sequence[TrialRun], fold: int) -> OpenGang:
    """Prepare the heads of these trials on one fold, each drawn from its trial's own seed as it would be alone."""
    configs = [_backbone_config(run) for run in runs]
    context, stage = runs[0].context, runs[0].stage
    with context.interruptible():
        data = context.workloads.open_data(configs[0], fold)
        work = context.workloads.prepare(configs[0], data, runs[0].seed)
    model, classes = work.model, len(data.search.classes)
    metric = bind_metric(stage.metric, data.search.classes)
    assert isinstance(model, BackboneClassifier)
    assert isinstance(work.train, FeatureTrainBatches) and isinstance(work.val, FeatureEvalBatches)
    heads = [_head(model, config, run.seed, classes) for config, run in zip(configs, runs, strict=True)]
    gang = Gang(
        heads, work.train, work.val, configs,
        classes=classes, device=context.device, seeds=[run.seed for run in runs], metric=metric,
    )  # fmt: skip

    def classifier(slot: int) -> nn.Module:
        model.head = heads[slot].to(context.device)
        return model

    return OpenGang(
        configs=configs, epochs=gang, drop=gang.drop, classifier=classifier, data=data,
        preprocessing=work.preprocessing,
    )  # fmt: skip


def _backbone_config(run: TrialRun) -> BackboneConfig:
    config = run.draw()
    assert isinstance(config, BackboneConfig)
    return config


def _head(model: BackboneClassifier, config: BackboneConfig, seed: int, classes: int) -> nn.Sequential:
    first = next(layer for layer in model.head.modules() if isinstance(layer, nn.Linear))
    torch.manual_seed(seed)
    return build_head(config, first.in_features, classes)
