"""A worker's data: opened once per image size, kept on the device, shared by all its trials."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from data.arrays import SearchData
from data.augment import Augmentation
from data.batches import DeviceImages, EvalBatches, TrainBatches, to_device
from data.cache import open_search_data
from data.spec import DataSpec
from models.config import ImageFit, TrainConfig
from search.settings import Settings

EVAL_BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialData:
    """The images of one size, on the device."""

    search: SearchData
    train: DeviceImages
    val: DeviceImages

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        height, width, channels = self.search.train.image_shape
        return channels, height, width

    def train_batches(self, config: TrainConfig) -> TrainBatches:
        """Shuffled and augmented as the configuration says."""
        return TrainBatches(
            self.train,
            mean=self.search.mean,
            std=self.search.std,
            batch_size=config.batch_size,
            augmentation=Augmentation.of(config),
        )

    def val_batches(self) -> EvalBatches:
        """Every validation image, in order, as it is."""
        return EvalBatches(self.val, mean=self.search.mean, std=self.search.std, batch_size=EVAL_BATCH_SIZE)


class DataSource:
    """Opens the decoded images of a size when a trial first asks for them."""

    def __init__(self, spec: DataSpec, settings: Settings, device: torch.device) -> None:
        self._spec = spec
        self._settings = settings
        self._device = device
        self._open: dict[tuple[int, ImageFit], TrialData] = {}

    def get(self, image_size: int, image_fit: ImageFit) -> TrialData:
        """The images at that size; decodes them if no process has done so yet."""
        key = image_size, image_fit
        if key not in self._open:
            search = open_search_data(
                self._spec,
                image_size=image_size,
                image_fit=image_fit,
                data_home=self._settings.data_home,
                cache_home=self._settings.cache_home,
            )
            self._open[key] = TrialData(
                search=search, train=to_device(search.train, self._device), val=to_device(search.val, self._device)
            )
        return self._open[key]
