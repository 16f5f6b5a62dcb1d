"""Prepares what a trial trains for `models.training.fit`: a whole network on images, or a head on stored features.

Where the lower layers of a network are frozen, each image passes them once; only the layers above are trained then, on
the stored features.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import nn

from data.arrays import SearchData
from data.augment import Augmentation
from data.spec import DataSpec
from models.config import BackboneConfig, TrainConfig
from models.finetuning import BackboneClassifier
from models.preprocessing import Preprocessing
from models.registry import build_model, preprocessing
from models.training.batch_protocols import TrainingBatches, ValidationBatches
from models.training.epoch_seeds import seed_torch
from models.training.feature_store import FeatureStore
from models.training.features import Features, hash_weights, open_features, split_at_border
from models.weights import NONE
from search.settings import Settings
from search.trials.data_source import DataSource, TrialData

AUGMENTED_VIEWS = 8
"""Augmented views of each training image that pass a frozen network, if more than a mirror image is drawn."""
_FEATURE_FIELDS = frozenset(entry.name for entry in fields(Augmentation)) | {
    *("backbone", "weights", "image_size", "image_fit", "precision"),
    *("freezing", "trainable_children", "frozen_children"),
}
"""The fields that decide an image's features, unless the frozen weights are random. A worker keeps the features of the
last combination open."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """A trial's network and its batches, on the device."""

    model: nn.Module
    """The whole classifier, from images to logits."""
    learning: nn.Module
    """The part of the classifier that is trained; it shares parameters with `model`."""
    train: TrainingBatches
    val: ValidationBatches
    preprocessing: Preprocessing
    """Mean and standard deviation by which the network's input is normalised."""


class WorkloadBuilder:
    """Builds the workloads of all trials of one worker, and keeps open what they share."""

    def __init__(self, source: DataSource, store: FeatureStore, device: torch.device) -> None:
        self.spec = source.spec
        self._source = source
        self._store = store
        self._device = device
        self._features: dict[tuple[object, ...], Features | None] = {}

    def open_data(self, config: TrainConfig, fold: int = 0) -> TrialData:
        """Open the images at the configuration's size, divided for a fold."""
        return self._source.get(config.image_size, config.image_fit, fold)

    def add_data(self, config: TrainConfig, search: SearchData) -> None:
        """Take images that this process has opened already at the configuration's size."""
        self._source.add(config.image_size, config.image_fit, search)

    def prepare(self, config: TrainConfig, data: TrialData, seed: int) -> Workload:
        """Build the network from a seed and its batches. Raises InfeasibleConfig if the network cannot be built."""
        seed_torch(seed, self._device)
        model = self.build(config, data)
        statistics = input_statistics(config, data)
        if isinstance(config, BackboneConfig) and isinstance(model, BackboneClassifier):
            split = split_at_border(model)
            features = self._open_features(split[0], data, config, statistics) if split else None
            if split and features:
                train = features.train_batches(config, self._device)
                val = features.val_batches(data.eval_batch_size, self._device)
                return Workload(model=model, learning=split[1], train=train, val=val, preprocessing=statistics)
            if not split:
                self._features.clear()  # The whole network may need the memory that they take on the device.
        return Workload(
            model=model,
            learning=model,
            train=data.train_batches(config, statistics),
            val=data.val_batches(statistics),
            preprocessing=statistics,
        )

    def build(self, config: TrainConfig, data: TrialData) -> nn.Module:
        """Build the network for this data, untrained, on the device."""
        return build_model(config, data.input_shape, len(data.search.classes)).to(self._device)

    def _open_features(
        self, frozen: nn.Module, data: TrialData, config: BackboneConfig, statistics: Preprocessing
    ) -> Features | None:
        search = data.search
        key = (
            search.split_hash,
            search.train.rows_M.tobytes(),  # A probe samples the images of a split.
            search.val.rows_M.tobytes(),
            hash_weights(frozen) if config.weights == NONE else "",  # Each trial draws its own random weights.
            *(getattr(config, name) for name in sorted(_FEATURE_FIELDS)),
        )
        if key not in self._features:
            self._features.clear()  # Features stay on disk only while a process maps them: unmap those not used now.
            self._features[key] = open_features(
                self._store, frozen, search, config, statistics, device=self._device,
                views=AUGMENTED_VIEWS, folds=self.spec.folds > 0,
            )  # fmt: skip
        return self._features[key]


def open_workload_builder(spec: DataSpec, settings: Settings, device: torch.device) -> WorkloadBuilder:
    """A builder of workloads on one device, for a study's data."""
    return WorkloadBuilder(DataSource(spec, settings, device), FeatureStore(settings.features_home), device)


def input_statistics(config: TrainConfig, data: TrialData) -> Preprocessing:
    """The preprocessing that the pre-trained weights were trained with, or else that of the training images."""
    own = preprocessing(config)
    if own is not None:
        return own.for_channels(data.search.channels)
    return Preprocessing(
        image_size=config.image_size, mean=data.search.mean, std=data.search.std, interpolation="bicubic"
    )
