"""What the training core asks of batches: those of images in `data.batches` have it, and those of features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Generator, Tensor

from data.batches import Batch


class Labelled(Protocol):
    """Something with a label for each of its images."""

    @property
    def labels_M(self) -> Tensor: ...


class TrainingBatches(Protocol):
    """Shuffled batches, in another order in every epoch."""

    @property
    def images(self) -> Labelled: ...
    @property
    def batch_size(self) -> int: ...
    def __len__(self) -> int:
        """Steps per epoch."""

    def epoch(self, generator: Generator) -> Iterator[Batch]:
        """The batches of one epoch; the generator decides everything."""


@runtime_checkable
class Alternating(Protocol):
    """Batches in which something alternates between epochs, such as the flip."""

    def begin_epoch(self, epoch: int) -> None:
        """State which epoch follows, counted from 1; to be called before `epoch`, outside of what is captured."""


class ValidationBatches(Protocol):
    """Every image once, in order."""

    def __iter__(self) -> Iterator[Batch]: ...


@runtime_checkable
class PickedTraining(TrainingBatches, Protocol):
    """Training batches of which each can be picked by the positions of its images: what a captured step needs."""

    @property
    def resident(self) -> bool:
        """Whether `pick` takes everything from the device."""

    def order(self, generator: Generator) -> Tensor:
        """Positions of an epoch's images, in order: what `epoch` draws first."""

    def pick(self, index_N: Tensor, generator: Generator) -> Batch:
        """One batch: these images, varied with the generator's next draws."""


@runtime_checkable
class PickedValidation(ValidationBatches, Protocol):
    """Validation batches of which each can be picked by the positions of its images."""

    @property
    def images(self) -> Labelled: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def resident(self) -> bool:
        """Whether `pick` takes everything from the device."""

    def pick(self, index_N: Tensor) -> Batch:
        """One batch: these images."""
