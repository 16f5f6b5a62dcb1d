"""Computes the features that a frozen network extracts from images, as rows for the feature store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Generator, Tensor, nn

from data.arrays import ImageSet
from data.augment import Augmentation
from data.batches import Batch, EvalBatches, PlacedImages, TrainBatches, to_device
from data.errors import InfeasibleConfig
from models.config import BackboneConfig
from models.preprocessing import Preprocessing
from models.training.feature_store import FloatArray
from models.training.micro_batches import MicroBatches
from models.training.precision import autocast, compute_dtype


class Extraction:
    """Computes rows of features, with the same result in every process."""

    def __init__(
        self,
        frozen: nn.Module,
        images: ImageSet,
        config: BackboneConfig,
        seen: Preprocessing,
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        self._frozen = frozen.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._images, self._device = images, device
        self._seen, self._augmentation = seen, augmentation
        self._micro_batches = MicroBatches()
        height, width, channels = images.image_shape
        example_1CHW = torch.zeros(1, channels, height, width, device=device)
        self.dtype = compute_dtype(config.precision, device, self._frozen, example_1CHW, batch_size=64)

    def __call__(self, start: int, stop: int) -> FloatArray:
        """The rows from `start` up to but not including `stop`; they may belong to several views."""
        count = len(self._images)
        parts = []
        while start < stop:
            end = min(stop, (start // count + 1) * count)
            parts.append(_as_stored(self._features(self._prepared(start, end))))
            start = end
        stored: FloatArray = torch.cat(parts).cpu().numpy()
        return stored

    def _features(self, images_NCHW: Tensor) -> Tensor:
        """The features of the images in float32, computed in pieces that fit into memory."""

        def work(pieces: Sequence[Batch]) -> Tensor:
            return torch.cat([self._frozen(piece.images_NCHW).float() for piece in pieces])

        with torch.inference_mode(), autocast(self._device, self.dtype):
            return self._micro_batches.run(Batch(images_NCHW, images_NCHW.new_empty(len(images_NCHW))), work)

    @cached_property
    def _batches(self) -> tuple[PlacedImages, EvalBatches, TrainBatches]:
        """The images on the device, plain and augmented. They are placed for the first rows: there may be none to
        compute.
        """
        placed, mean, std = to_device(self._images, self._device), self._seen.mean, self._seen.std
        plain = EvalBatches(placed, mean=mean, std=std, batch_size=1)
        return placed, plain, TrainBatches(placed, mean=mean, std=std, batch_size=1, augmentation=self._augmentation)

    def _prepared(self, start: int, stop: int) -> Tensor:
        """Images of one view as input for the network, NCHW."""
        placed, plain, varied = self._batches
        view, first = divmod(start, len(placed))
        index_N = torch.arange(first, first + stop - start, device=placed.index_device)
        if not view:
            return plain.pick(index_N).images_NCHW
        seed = int(np.random.SeedSequence((view, first)).generate_state(1, np.uint64)[0])
        varied.begin_epoch(view)
        return varied.pick(index_N, Generator(self._device).manual_seed(seed)).images_NCHW


def _as_stored(features: Tensor) -> Tensor:
    """Vectors in float32, which trains heads fastest; maps (as NHWC) and tokens, which are far larger, in float16."""
    if features.ndim == 2:
        return features
    halves = features.to(torch.float16)
    if not halves.isfinite().all():
        raise InfeasibleConfig(
            f"the frozen layers' values reach {float(features.abs().max()):.3g}, more than float16 can hold; "
            "check the weights, or use freezing=freeze_all"
        )
    return halves.permute(0, 2, 3, 1) if halves.ndim == 4 else halves
