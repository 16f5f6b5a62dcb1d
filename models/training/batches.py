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
