"""Images that are decoded whenever a batch asks for them, in the place of `data.batches.DeviceImages`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data.arrays import ImageSet, UInt8Array
from data.decoders import StreamedPool


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamedImages:
    """Gives the batches that resident images give: what is drawn at random is drawn after decoding, in either case."""

    images: ImageSet
    pool: StreamedPool
    labels_M: Tensor
    """On the host."""
    device: torch.device

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width, channels."""
        return self.images.image_shape

    @property
    def index_device(self) -> torch.device:
        """Where indices are asked for: on the host."""
        return self.labels_M.device

    def take(self, index_N: Tensor) -> tuple[Tensor, Tensor]:
        """Images (uint8, NHWC) and labels on the device."""
        return self._upload(self.images.pool_NHWC[self.images.rows_M[index_N.numpy()]], index_N)

    def in_turn(self, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """`take` for one batch after the other, decoded ahead of the reader."""
        indices = list(batches)
        rows = [self.images.rows_M[index_N.numpy()] for index_N in indices]
        for images_NHWC, index_N in zip(self.pool.stream(rows), indices, strict=True):
            yield self._upload(images_NHWC, index_N)

    def _upload(self, images_NHWC: UInt8Array, index_N: Tensor) -> tuple[Tensor, Tensor]:
        images, labels_N = torch.from_numpy(images_NHWC), self.labels_M[index_N]
        if self.device.type == "cpu":
            return images, labels_N
        # Pinned, so that the copy overlaps with the computation.
        return (
            images.pin_memory().to(self.device, non_blocking=True),
            labels_N.pin_memory().to(self.device, non_blocking=True),
        )
