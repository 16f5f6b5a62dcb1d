"""What a frozen network makes of images, row by row, as the feature store keeps it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor, nn

from data.arrays import ImageSet
from data.augment import Augmentation, augment
from data.batches import DeviceImages, EvalBatches, to_device
from data.errors import InfeasibleConfig
from models.config import BackboneConfig
from models.preprocessing import Preprocessing
from models.training.feature_store import FloatArray
from models.training.precision import autocast, compute_dtype


class Extraction:
    """Rows of features, computed; the same in every process."""

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
        self._images, self._seen = to_device(images, device), seen
        self._augmentation, self._device = augmentation, device
        example_1CHW = self._prepared(0, 1)
        self.dtype = compute_dtype(config.precision, device, self._frozen, example_1CHW, batch_size=64)

    def __call__(self, start: int, stop: int) -> FloatArray:
        """Rows from start to before stop; they may reach over the end of a view."""
        count = len(self._images)
        parts = []
        while start < stop:
            end = min(stop, (start // count + 1) * count)
            with torch.inference_mode(), autocast(self._device, self.dtype):
                features = self._frozen(self._prepared(start, end))
            parts.append(_as_stored(features.float()))
            start = end
        stored: FloatArray = torch.cat(parts).cpu().numpy()
        return stored

    def _prepared(self, start: int, stop: int) -> Tensor:
        """Images of one view as the network sees them, NCHW."""
        view, first = divmod(start, len(self._images))
        index_N = torch.arange(first, first + stop - start, device=self._images.index_device)
        images_NHWC, labels_N = self._images.take(index_N)
        if view:
            seed = int(np.random.SeedSequence((view, first)).generate_state(1, np.uint64)[0])
            generator = Generator(self._device).manual_seed(seed)
            fill_C = (torch.tensor(self._seen.mean, device=self._device) * 255).round().to(torch.uint8)
            images_NHWC = augment(images_NHWC, self._augmentation, fill_C[: images_NHWC.shape[3]], generator)
        rows_N = torch.arange(len(images_NHWC), device=images_NHWC.device)
        shard = DeviceImages(pool_NHWC=images_NHWC, rows_M=rows_N, labels_M=labels_N, device=images_NHWC.device)
        batches = EvalBatches(shard, mean=self._seen.mean, std=self._seen.std, batch_size=len(images_NHWC))
        return next(iter(batches)).images_NCHW


def _as_stored(features: Tensor) -> Tensor:
    """Vectors in float32, which trains heads fastest; maps and tokens, many times as large, in float16; maps NHWC."""
    if features.ndim == 2:
        return features
    halves = features.to(torch.float16)
    if not halves.isfinite().all():
        raise InfeasibleConfig(
            f"the frozen part's values reach {float(features.abs().max()):.3g}, more than float16 holds; "
            "check the weights, or use freezing=freeze_all"
        )
    return halves.permute(0, 2, 3, 1) if halves.ndim == 4 else halves
