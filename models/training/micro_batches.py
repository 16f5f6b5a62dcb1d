"""Divides batches that do not fit into the device's memory into micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from data.batches import Batch
from data.errors import DoesNotFit
from data.text import first_line

T = TypeVar("T")

_SAYINGS = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Messages of a CPU's allocator and of cuBLAS, in errors whose type is only RuntimeError."""
SMALLEST = 4
"""Images of the smallest micro-batch: the statistics of fewer images are useless for batch norms."""


class MicroBatches:
    """Divides batches into as few pieces as fit into memory: one, then two, four and so on. The number never shrinks.

    A gradient that is accumulated over the pieces equals that of the batch, except for rounding. Batch norms use the
    statistics of a piece, and update their running statistics once per piece; dropout draws other numbers.
    """

    def __init__(self) -> None:
        self.count = 1
        """Number of pieces into which a batch is divided now."""
        self.retries = True
        """Whether `run` tries again with smaller pieces; False in a capture, which cannot undo recorded work."""

    def run(self, batch: Batch, work: Callable[[Sequence[Batch]], T]) -> T:
        """Call `work` with the pieces of a batch and return its result; if memory runs out, call it with smaller
        pieces.

        Raises DoesNotFit if even pieces of `SMALLEST` images do not fit.
        """
        while True:
            try:
                return work(_cut(batch, self.count))
            except (MemoryError, RuntimeError) as error:
                if not self.retries or not is_out_of_memory(error):
                    raise
                images = len(batch.labels_N) // self.count
                if images < 2 * SMALLEST:
                    raise DoesNotFit(f"out of memory with {images} images at a time: {first_line(error)}") from None
            # Not in the handler: the error's traceback keeps the memory of the attempt.
            self.count *= 2
            torch.cuda.empty_cache()

    def can_shrink(self, images: int) -> bool:
        """Whether a batch of this many images may be divided into twice as many pieces."""
        return images // self.count >= 2 * SMALLEST


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that a device, or the machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)


def _cut(batch: Batch, count: int) -> list[Batch]:
    """Pieces of about the same size, none of them empty, as views of the batch."""
    count = min(count, len(batch.labels_N))
    if count == 1:
        return [batch]
    columns = [(None,) * count if tensor is None else tensor.tensor_split(count) for tensor in batch]
    return [Batch(*pieces) for pieces in zip(*columns, strict=True)]
