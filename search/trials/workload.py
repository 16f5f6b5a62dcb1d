"""What a trial trains, and on what: a whole network on images, or what follows a frozen border on stored features."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import nn

from data.augment import Augmentation
from data.spec import DataSpec
from models.config import BackboneConfig, TrainConfig
from models.finetuning import BackboneClassifier
from models.preprocessing import Preprocessing
from models.registry import build_model, preprocessing
from models.training.batches import TrainingBatches, ValidationBatches
from models.training.feature_store import FeatureStore
from models.training.features import Features, open_features, split_at_border
from search.settings import Settings
from search.trials.data_source import DataSource, TrialData

AUGMENTED_VIEWS = 8
"""Views of each image that pass a frozen network where the configuration augments; one where it does not."""
_FEATURE_FIELDS = frozenset(entry.name for entry in fields(Augmentation)) | {
    *("backbone", "weights", "image_size", "image_fit", "precision"),
    *("freezing", "trainable_children", "frozen_children"),
}
"""What decides the features of an image; a worker keeps those of the last such configuration open."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """A trial's network and batches, on the device."""

    model: nn.Module
    """The whole classifier."""
    learning: nn.Module
    """The part of it that is trained; it shares the whole's parameters."""
    train: TrainingBatches
    val: ValidationBatches
    seen: Preprocessing
    """Mean and standard deviation that the network's input is normalised with."""


class WorkloadBuilder:
    """Prepares a worker's trials; keeps what they share open."""

    def __init__(self, source: DataSource, store: FeatureStore, device: torch.device) -> None:
        self.spec = source.spec
        self._source = source
        self._store = store
        self._device = device
        self._features: dict[tuple[object, ...], Features | None] = {}

    def open_data(self, config: TrainConfig, fold: int = 0) -> TrialData:
        """The images at the size that the configuration asks for, divided for a fold."""
        return self._source.get(config.image_size, config.image_fit, fold)

    def prepare(self, config: TrainConfig, data: TrialData, seed: int) -> Workload:
        """Build the network from a seed, on this data. Raises InfeasibleConfig for one that cannot be built."""
        torch.manual_seed(seed)
        model = self.build(config, data)
        seen = input_statistics(config, data)
        if isinstance(config, BackboneConfig) and isinstance(model, BackboneClassifier):
            split = split_at_border(model)
            features = self._open_features(split[0], data, config, seen) if split else None
            if split and features:
                train = features.train_batches(config, self._device)
                val = features.val_batches(data.eval_batch_size, self._device)
                return Workload(model=model, learning=split[1], train=train, val=val, seen=seen)
        return Workload(
            model=model, learning=model, train=data.train_batches(config, seen), val=data.val_batches(seen), seen=seen
        )

    def build(self, config: TrainConfig, data: TrialData) -> nn.Module:
        """The untrained network for this data, on the device."""
        return build_model(config, data.input_shape, len(data.search.classes)).to(self._device)

    def _open_features(
        self, frozen: nn.Module, data: TrialData, config: BackboneConfig, seen: Preprocessing
    ) -> Features | None:
        key = (
            data.search.split_hash,
            len(data.search.train),
            *(getattr(config, name) for name in sorted(_FEATURE_FIELDS)),
        )
        if key not in self._features:
            self._features.clear()  # Only what is mapped is kept on disk: let go of what is not used any more.
            self._features[key] = open_features(
                self._store, frozen, data.search, config, seen, device=self._device, views=AUGMENTED_VIEWS
            )
        return self._features[key]


def open_workload_builder(spec: DataSpec, settings: Settings, device: torch.device) -> WorkloadBuilder:
    """A workloads for a study's data on one device."""
    return WorkloadBuilder(DataSource(spec, settings, device), FeatureStore(settings.features_home), device)


def input_statistics(config: TrainConfig, data: TrialData) -> Preprocessing:
    """What pre-trained weights were shown, or the statistics of the training images."""
    own = preprocessing(config)
    if own is not None:
        return own.for_channels(data.search.channels)
    return Preprocessing(
        image_size=config.image_size, mean=data.search.mean, std=data.search.std, interpolation="bicubic"
    )
