"""Computes the features that a frozen network extracts from images, as rows for the feature store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Generator, Tensor, nn

from data.arrays import ImageSet, IntArray
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
        varied_M: IntArray | None = None,
    ) -> None:
        """The rows of all images come first, then for each augmented view those of the images at the positions
        `varied_M`, or those of every image.
        """
        self._frozen = frozen.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._images, self._device = images, device
        self._varied_M = torch.arange(len(images)) if varied_M is None else torch.from_numpy(varied_M)
        self._seen, self._augmentation = seen, augmentation
        self._micro_batches = MicroBatches()
        height, width, channels = images.image_shape
        example_1CHW = torch.zeros(1, channels, height, width, device=device)
        self.dtype = compute_dtype(config.precision, device, self._frozen, example_1CHW, batch_size=64)

    def __call__(self, start: int, stop: int) -> FloatArray:
        """The rows from `start` up to but not including `stop`; they may belong to several views."""
        parts = []
        while start < stop:
            view, first, count = self._locate(start)
            size = min(stop - start, count - first)
            parts.append(_as_stored(self._features(self._prepared(view, first, size))))
            start += size
        stored: FloatArray = torch.cat(parts).cpu().numpy()
        return stored

    def _locate(self, row: int) -> tuple[int, int, int]:
        """The view that a row belongs to, the row's position in it and the number of its rows."""
        images, varied = len(self._images), len(self._varied_M)
        if row < images:
            return 0, row, images
        view, position = divmod(row - images, varied)
        return view + 1, position, varied

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

    def _prepared(self, view: int, first: int, size: int) -> Tensor:
        """Images of one view as input for the network, NCHW."""
        placed, plain, varied = self._batches
        if not view:
            return plain.pick(torch.arange(first, first + size, device=placed.index_device)).images_NCHW
        seed = int(np.random.SeedSequence((view, first)).generate_state(1, np.uint64)[0])
        varied.begin_epoch(view)
        index_N = self._varied_M[first : first + size].to(placed.index_device)
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
