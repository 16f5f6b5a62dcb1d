"""The images of a worker, by image size and fold: kept on the device while there is room, shared by all its trials."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from data.arrays import SearchData
from data.augment import Augmentation
from data.batches import EvalBatches, PlacedImages, TrainBatches, device_bytes, to_device
from data.cache import open_search_data
from data.spec import DataSpec
from models.config import ImageFit, TrainConfig
from models.preprocessing import Preprocessing
from search.settings import Settings

MAX_EVAL_BATCH = 500
EVAL_BATCH_PIXELS = 2**21
IDLE_SHARE = 0.1
"""Share of a GPU's memory for image sets of other sizes and folds than the current trial's. Networks need the rest; a
set that was released is uploaded again in seconds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialData:
    """Training and validation images of one size, on the device."""

    search: SearchData
    train: PlacedImages
    val: PlacedImages

    @property
    def device_bytes(self) -> int:
        """Bytes of the device's memory that the images occupy."""
        return device_bytes(self.train) + device_bytes(self.val)

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
    """Opens the decoded images of a size and fold when a trial needs them, and keeps them open."""

    def __init__(self, spec: DataSpec, settings: Settings, device: torch.device) -> None:
        self.spec = spec
        self._settings = settings
        self._device = device
        self._open: dict[tuple[int, ImageFit, int], TrialData] = {}
        """The sets that are open, the last used one last."""

    def add(self, image_size: int, image_fit: ImageFit, search: SearchData) -> None:
        """Take images that this process has opened already, those of the first fold."""
        self._open[image_size, image_fit, 0] = self._on_device(search)

    def get(self, image_size: int, image_fit: ImageFit, fold: int = 0) -> TrialData:
        """Open the images at a size, divided for a fold; decodes them if no process has done so yet.

        If other sets take too much of a GPU's memory, those that were not used for the longest time are released.
        """
        key = image_size, image_fit, fold
        data = self._open.pop(key, None)
        self._release_idle()
        if data is None:
            search = open_search_data(
                replace(self.spec, fold=fold),
                image_size=image_size,
                image_fit=image_fit,
                data_home=self._settings.data_home,
                cache_home=self._settings.cache_home,
                limit=self._settings.cache_limit,
            )
            data = self._on_device(search)
        self._open[key] = data
        return data

    def _release_idle(self) -> None:
        """Release sets on a GPU that exceed `IDLE_SHARE`; a trial that is still training keeps its own alive."""
        if self._device.type != "cuda" or not self._open:
            return
        _, total_bytes = torch.cuda.mem_get_info(self._device)
        left_bytes, kept = IDLE_SHARE * total_bytes, len(self._open)
        for key in list(reversed(self._open)):
            needed_bytes = self._open[key].device_bytes
            if needed_bytes <= left_bytes:
                left_bytes -= needed_bytes
            else:
                del self._open[key]
        if len(self._open) < kept:
            torch.cuda.empty_cache()  # What torch keeps does not count as free when the next set is placed.

    def _on_device(self, search: SearchData) -> TrialData:
        return TrialData(
            search=search, train=to_device(search.train, self._device), val=to_device(search.val, self._device)
        )
