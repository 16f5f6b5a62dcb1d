"""The interfaces of batches that the training core uses; the batches of images and of features implement them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Generator, Tensor

from data.batches import Batch


class Labelled(Protocol):
    """A set of images with a label for each image."""

    @property
    def labels_M(self) -> Tensor:
        """The labels, one per image."""


class TrainingBatches(Protocol):
    """Shuffled batches, in a new order in every epoch."""

    @property
    def images(self) -> Labelled:
        """The images that batches are made of."""

    @property
    def batch_size(self) -> int:
        """Images per batch."""

    def __len__(self) -> int:
        """Steps per epoch."""

    def epoch(self, generator: Generator) -> Iterator[Batch]:
        """The batches of one epoch; all random choices are drawn from the generator."""


@runtime_checkable
class Alternating(Protocol):
    """Batches in which an augmentation alternates between epochs, e.g. the flip."""

    def begin_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch, counted from 1. Call it before `epoch`, outside of captured work."""


class ValidationBatches(Protocol):
    """Every image once, in order."""

    def __iter__(self) -> Iterator[Batch]: ...


@runtime_checkable
class PickedTraining(TrainingBatches, Protocol):
    """Training batches that can be picked by the positions of their images, as a captured step needs it."""

    @property
    def resident(self) -> bool:
        """Whether the data that `pick` reads are all on the device."""

    def order(self, generator: Generator) -> Tensor:
        """The positions of an epoch's images in order, which are the first random draw of `epoch`."""

    def pick(self, index_N: Tensor, generator: Generator) -> Batch:
        """The batch of these images, augmented with the generator's next draws."""


@runtime_checkable
class PickedValidation(ValidationBatches, Protocol):
    """Validation batches that can be picked by the positions of their images."""

    @property
    def images(self) -> Labelled:
        """The images that batches are made of."""

    @property
    def batch_size(self) -> int:
        """Images per batch; the last batch may be smaller."""

    @property
    def resident(self) -> bool:
        """Whether the data that `pick` reads are all on the device."""

    def pick(self, index_N: Tensor) -> Batch:
        """The batch of these images."""
