"""Batches on the device: images uploaded or mapped once, then picked, augmented and normalised there.

Training and validation have a class each and share only pixels: no switch on one can reach the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from data.alternation import Alternation
from data.arrays import ImageSet
from data.augment import Augmentation, augment, draw
from data.decoders import StreamedPool
from data.errors import InfeasibleConfig
from data.gpu_memory import free_gpu_memory
from data.mixing import mix
from data.normalise import Normalise
from data.pick import Pool, agrees, has_kernels, normalise_batch, pick_batch
from data.sampling import epoch_order
from data.streamed import StreamedImages

_agreements: dict[tuple[object, ...], bool] = {}
"""Whether the kernels gave what torch gives, by all that decides which of them are compiled: asked once a process."""
_UPLOAD_IMAGES = 1024
"""Images copied to the device at a time: bounds the memory that an upload takes on the host."""


class Batch(NamedTuple):
    """Normalised images, ready for a network."""

    images_NCHW: Tensor
    """Floating point, in channels_last memory format."""
    labels_N: Tensor
    mixed_labels_N: Tensor | None = None
    """Labels of the images that were mixed in."""
    mix_N: Tensor | None = None
    """Weight of `labels_N`; the rest to 1 is the weight of `mixed_labels_N`."""


class PlacedImages(Protocol):
    """An image set that batches can be made of, wherever its pictures come from."""

    @property
    def labels_M(self) -> Tensor:
        """The labels, one per image."""

    @property
    def device(self) -> torch.device:
        """The device on which batches are made."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width, channels."""

    @property
    def index_device(self) -> torch.device:
        """Where `take` wants its indices."""

    def __len__(self) -> int: ...
    def take(self, index_N: Tensor) -> tuple[Tensor, Tensor]:
        """Images (uint8, NHWC) and labels on the device."""

    def in_turn(self, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """`take` for one batch after the other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceImages:
    """An image set placed for one device, shared by all trials that run there."""

    pool_NHWC: Tensor
    """uint8; on the device, or on the host where it does not fit."""
    rows_M: Tensor
    """Where in the pool each image is; on the pool's device, as are the labels."""
    labels_M: Tensor
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows_M)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width, channels."""
        return self.pool_NHWC.shape[1:]

    @property
    def index_device(self) -> torch.device:
        """That of the pool."""
        return self.pool_NHWC.device

    def in_turn(self, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """`take` for one batch after the other."""
        return map(self.take, batches)

    def take(self, index_N: Tensor) -> tuple[Tensor, Tensor]:
        """Images (uint8, NHWC) and labels on the device; `index_N` is on the pool's device."""
        rows_N, labels_N = self.rows_M[index_N], self.labels_M[index_N]
        if self.pool_NHWC.device == self.device:
            return self.pool_NHWC.index_select(0, rows_N), labels_N
        # Pinned, so that the copy overlaps with the computation; torch reuses the block when the copy is done.
        images_NHWC = self.pool_NHWC.new_empty((len(rows_N), *self.pool_NHWC.shape[1:]), pin_memory=True)
        torch.index_select(self.pool_NHWC, 0, rows_N, out=images_NHWC)
        return images_NHWC.to(self.device, non_blocking=True), labels_N.pin_memory().to(self.device, non_blocking=True)


def to_device(images: ImageSet, device: torch.device, *, memory_share: float = 0.5) -> PlacedImages:
    """Place an image set for a device, once.

    On a CPU the memory map itself is used. On a GPU the images are uploaded where they take at most `memory_share` of
    the free memory, and otherwise stay on the host and are copied batch by batch. Pictures that are kept nowhere are
    decoded batch by batch, unless they can be uploaded.
    """
    device = _with_index(device)
    bytes_needed = len(images) * int(np.prod(images.image_shape))
    if device.type == "cpu" or not _fits(bytes_needed, device, memory_share):
        if isinstance(images.pool_NHWC, StreamedPool):
            labels_M = torch.from_numpy(images.labels_M)
            return StreamedImages(images=images, pool=images.pool_NHWC, labels_M=labels_M, device=device)
        assert isinstance(images.pool_NHWC, np.ndarray)
        return DeviceImages(
            pool_NHWC=_without_copy(images.pool_NHWC),
            rows_M=torch.from_numpy(images.rows_M),
            labels_M=torch.from_numpy(images.labels_M),
            device=device,
        )
    pool_NHWC = torch.empty((len(images), *images.image_shape), dtype=torch.uint8, device=device)
    for start in range(0, len(images), _UPLOAD_IMAGES):
        rows = images.rows_M[start : start + _UPLOAD_IMAGES]
        pool_NHWC[start : start + len(rows)] = torch.from_numpy(images.pool_NHWC[rows]).to(device)
    return DeviceImages(
        pool_NHWC=pool_NHWC,
        rows_M=torch.arange(len(images), device=device),
        labels_M=torch.from_numpy(images.labels_M).to(device),
        device=device,
    )


def device_bytes(images: PlacedImages) -> int:
    """Bytes of the device's memory that an image set occupies; 0 if its pictures stay on the host."""
    return images.pool_NHWC.nbytes if isinstance(images, DeviceImages) and _is_resident(images) else 0


class TrainBatches:
    """Shuffled, augmented batches: another order and other draws in every epoch, all from the epoch's generator."""

    def __init__(
        self,
        images: PlacedImages,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        augmentation: Augmentation,
        balanced: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`balanced`: see `data.sampling.epoch_order`."""
        size = images.image_shape[0]
        if augmentation.crop_padding >= size:
            raise InfeasibleConfig(f"crop_padding {augmentation.crop_padding} is not smaller than the {size} px images")
        self.images = images
        self.batch_size = min(batch_size, len(images))
        self.augmentation = augmentation
        self._balanced = balanced
        self._normalise = Normalise(images.image_shape, mean, std, images.device, dtype)
        self._fill_C = (torch.tensor(mean, device=images.device) * 255).round().to(torch.uint8)
        self._kernels = _kernels(images, augmentation, self._normalise, self._fill_C)
        self._alternation = Alternation(len(images), images) if augmentation.flip_alternating else None

    def __len__(self) -> int:
        """Steps per epoch: a last partial batch is dropped, unless it is the only one."""
        return len(self.images) // self.batch_size

    @property
    def resident(self) -> bool:
        """Whether `pick` takes everything from the device."""
        return _is_resident(self.images)

    def begin_epoch(self, epoch: int) -> None:
        """State which epoch follows, counted from 1: what alternates between epochs asks for it. Not to be captured."""
        if self._alternation:
            self._alternation.begin_epoch(epoch)

    def epoch(self, generator: Generator) -> Iterator[Batch]:
        """The batches of one epoch. `generator` is on the images' device and decides everything."""
        order_M = self.order(generator)
        steps = [order_M[step * self.batch_size : (step + 1) * self.batch_size] for step in range(len(self))]
        if self._kernels:
            for index_N in steps:
                yield self.pick(index_N, generator)
        else:
            for (images_NHWC, labels_N), index_N in zip(self.images.in_turn(steps), steps, strict=True):
                yield self._batch(images_NHWC, labels_N, index_N, generator)

    def order(self, generator: Generator) -> Tensor:
        """Positions of an epoch's images, in order, where `pick` expects them: what `epoch` draws first."""
        return epoch_order(self.images.labels_M, generator, balanced=self._balanced).to(self.images.index_device)

    def pick(self, index_N: Tensor, generator: Generator) -> Batch:
        """One batch: these images, augmented with the generator's next draws. Capturable where `resident`."""
        if not self._kernels:
            return self._batch(*self.images.take(index_N), index_N, generator)
        mirrored_N = self._alternation(index_N) if self._alternation else None
        draws = draw(self.augmentation, len(index_N), generator, index_N.device, mirrored_N)
        return self._mixed(pick_batch(self._kernels, index_N, draws), self.images.labels_M[index_N], generator)

    def _batch(self, images_NHWC: Tensor, labels_N: Tensor, index_N: Tensor, generator: Generator) -> Batch:
        mirrored_N = self._alternation(index_N) if self._alternation else None
        images_NHWC = augment(images_NHWC, self.augmentation, self._fill_C, generator, mirrored_N)
        return self._mixed(self._normalise(images_NHWC), labels_N, generator)

    def _mixed(self, images_NHWC: Tensor, labels_N: Tensor, generator: Generator) -> Batch:
        if not (self.augmentation.mixup or self.augmentation.cutmix):
            return Batch(_channels_last(images_NHWC), labels_N)
        images_NHWC, mix_N = mix(images_NHWC, self.augmentation.mixup, self.augmentation.cutmix, generator)
        return Batch(_channels_last(images_NHWC), labels_N, labels_N.roll(1), mix_N)


class EvalBatches:
    """Every image once, in order, never augmented."""

    def __init__(
        self,
        images: PlacedImages,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.images = images
        self.batch_size = batch_size
        self._normalise = Normalise(images.image_shape, mean, std, images.device, dtype)
        fill_C = torch.zeros(len(mean), dtype=torch.uint8, device=images.device)
        self._kernels = _kernels(images, Augmentation(), self._normalise, fill_C)

    def __len__(self) -> int:
        """Batches, the last of which may be smaller."""
        return -(-len(self.images) // self.batch_size)

    @property
    def resident(self) -> bool:
        """Whether `pick` takes everything from the device."""
        return _is_resident(self.images)

    def __iter__(self) -> Iterator[Batch]:
        order_M = torch.arange(len(self.images), device=self.images.index_device)
        batches = [order_M[start : start + self.batch_size] for start in range(0, len(order_M), self.batch_size)]
        if self._kernels:
            yield from map(self.pick, batches)
        else:
            for images_NHWC, labels_N in self.images.in_turn(batches):
                yield Batch(_channels_last(self._normalise(images_NHWC)), labels_N)

    def pick(self, index_N: Tensor) -> Batch:
        """One batch: these images. Capturable where `resident`."""
        if self._kernels:
            return Batch(_channels_last(normalise_batch(self._kernels, index_N)), self.images.labels_M[index_N])
        images_NHWC, labels_N = self.images.take(index_N)
        return Batch(_channels_last(self._normalise(images_NHWC)), labels_N)


def _kernels(images: PlacedImages, augmentation: Augmentation, normalise: Normalise, fill_C: Tensor) -> Pool | None:
    """What a GPU's kernels make batches of; None where there is no GPU, or pictures are not on it, or kernels fail."""
    if not isinstance(images, DeviceImages) or not _is_resident(images) or not has_kernels(images.device):
        return None
    pool = Pool(
        images_MHWC=images.pool_NHWC, rows_M=images.rows_M, table_C256=normalise.table_C256(), fill_C=fill_C
    )  # fmt: skip
    key = images.device, images.image_shape, pool.table_C256.dtype, augmentation
    if key not in _agreements:
        _agreements[key] = agrees(pool, augmentation, normalise)
    return pool if _agreements[key] else None


def _is_resident(images: PlacedImages) -> bool:
    return isinstance(images, DeviceImages) and images.pool_NHWC.device == images.device


def _channels_last(images_NHWC: Tensor) -> Tensor:
    return images_NHWC.permute(0, 3, 1, 2)


def _without_copy(array_NHWC: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # torch has no read-only tensors and warns of a read-only map; nothing here writes to the pool.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array_NHWC)


def _with_index(device: torch.device) -> torch.device:
    """`cuda` -> `cuda:0`, as tensors name their device: the two do not compare equal."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _fits(bytes_needed: int, device: torch.device, memory_share: float) -> bool:
    if device.type != "cuda":
        return True
    return bytes_needed <= memory_share * free_gpu_memory(device)
