"""Batches of stored features, for training and for validation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from data.batches import Batch, DeviceImages
from data.mixing import mix
from data.sampling import epoch_order


class FeatureTrainBatches:
    """The counterpart of `data.batches.TrainBatches` for features, with the same order of images for a generator."""

    def __init__(
        self,
        images: DeviceImages,
        *,
        views: int,
        batch_size: int,
        mirrored: float | None = None,
        mixup: float = 0.0,
        balanced: bool = False,
    ) -> None:
        """`mirrored` is the probability of view 1, of two views; None: all views are equally likely."""
        self.images = images
        self._count = len(images) // views
        self._views, self._mirrored, self._mixup, self._balanced = views, mirrored, mixup, balanced
        self.batch_size = min(batch_size, self._count)

    def __len__(self) -> int:
        """Steps per epoch: a last partial batch is dropped, unless it is the only one."""
        return self._count // self.batch_size

    def order(self, generator: Generator) -> Tensor:
        """Positions of an epoch's features in order, with one view of each image."""
        order_M = epoch_order(self.images.labels_M[: self._count], generator, balanced=self._balanced)
        if self._mirrored is not None:
            draws_M = torch.rand(len(order_M), generator=generator, device=order_M.device)
            order_M += self._count * (draws_M < self._mirrored)
        elif self._views > 1:
            order_M += self._count * torch.randint_like(order_M, self._views, generator=generator)
        return order_M.to(self.images.rows_M.device)

    def epoch(self, generator: Generator) -> Iterator[Batch]:
        """The batches of one epoch. All random choices are drawn from `generator`, which is on the features' device."""
        order_M = self.order(generator)
        for step in range(len(self)):
            features, labels_N = self.take(order_M[step * self.batch_size : (step + 1) * self.batch_size])
            if self._mixup:
                batch_NHWC, mix_N = mix(_as_maps(features), self._mixup, 0.0, generator)
                yield Batch(_as_layers_see(batch_NHWC.view_as(features)), labels_N, labels_N.roll(1), mix_N)
            else:
                yield Batch(_as_layers_see(features), labels_N)

    def take(self, index_N: Tensor) -> tuple[Tensor, Tensor]:
        """The features at these positions, as float32 in the stored layout, and their labels."""
        features, labels_N = self.images.take(index_N)
        return features.float(), labels_N


class FeatureEvalBatches:
    """The counterpart of `data.batches.EvalBatches` for features."""

    def __init__(self, images: DeviceImages, *, batch_size: int) -> None:
        self.images = images
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Number of batches, of which the last may be smaller."""
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order_M = torch.arange(len(self.images), device=self.images.rows_M.device)
        for start in range(0, len(self.images), self.batch_size):
            features, labels_N = self.images.take(order_M[start : start + self.batch_size])
            yield Batch(_as_layers_see(features.float()), labels_N)


def _as_layers_see(features: Tensor) -> Tensor:
    """Feature maps as NCHW. They are stored as NHWC, so this is channels_last format and copies nothing."""
    return features.permute(0, 3, 1, 2) if features.ndim == 4 else features


def _as_maps(features: Tensor) -> Tensor:
    return features.reshape(len(features), *(1,) * (4 - features.ndim), *features.shape[1:])
