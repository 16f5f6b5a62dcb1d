"""The images of a worker: opened once for each image size, kept on the device, shared by all its trials."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from data.arrays import SearchData
from data.augment import Augmentation
from data.batches import EvalBatches, PlacedImages, TrainBatches, to_device
from data.cache import open_search_data
from data.spec import DataSpec
from models.config import ImageFit, TrainConfig
from models.preprocessing import Preprocessing
from search.settings import Settings

MAX_EVAL_BATCH = 500
EVAL_BATCH_PIXELS = 2**21


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialData:
    """Training and validation images of one size, on the device."""

    search: SearchData
    train: PlacedImages
    val: PlacedImages

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of one image: channels, height, width."""
        height, width, channels = self.search.train.image_shape
        return channels, height, width

    @property
    def eval_batch_size(self) -> int:
        """Images in a validation batch. The larger the images, the fewer, so that feature maps fit into memory."""
        _, height, width = self.input_shape
        return max(1, min(MAX_EVAL_BATCH, EVAL_BATCH_PIXELS // (height * width)))

    def train_batches(self, config: TrainConfig, preprocessing: Preprocessing) -> TrainBatches:
        """Training batches, shuffled and augmented as the configuration says."""
        return TrainBatches(
            self.train,
            mean=preprocessing.mean,
            std=preprocessing.std,
            batch_size=config.batch_size,
            augmentation=Augmentation.of(config),
            balanced=config.sampling == "balanced",
        )

    def val_batches(self, preprocessing: Preprocessing) -> EvalBatches:
        """Validation batches: every image once, in order, not augmented."""
        return EvalBatches(self.val, mean=preprocessing.mean, std=preprocessing.std, batch_size=self.eval_batch_size)


class DataSource:
    """Opens the decoded images of a size when a trial first needs them."""

    def __init__(self, spec: DataSpec, settings: Settings, device: torch.device) -> None:
        self.spec = spec
        self._settings = settings
        self._device = device
        self._open: dict[tuple[int, ImageFit, int], TrialData] = {}

    def add(self, image_size: int, image_fit: ImageFit, search: SearchData) -> None:
        """Take images that this process has opened already, those of the first fold."""
        self._open[image_size, image_fit, 0] = self._on_device(search)

    def get(self, image_size: int, image_fit: ImageFit, fold: int = 0) -> TrialData:
        """Open the images at a size, divided for a fold; decodes them if no process has done so yet."""
        key = image_size, image_fit, fold
        if key not in self._open:
            search = open_search_data(
                replace(self.spec, fold=fold),
                image_size=image_size,
                image_fit=image_fit,
                data_home=self._settings.data_home,
                cache_home=self._settings.cache_home,
                limit=self._settings.cache_limit,
            )
            self._open[key] = self._on_device(search)
        return self._open[key]

    def _on_device(self, search: SearchData) -> TrialData:
        return TrialData(
            search=search, train=to_device(search.train, self._device), val=to_device(search.val, self._device)
        )
