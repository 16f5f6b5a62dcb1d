"""Batches in pieces: what does not fit into the device's memory at once passes the network piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from data.batches import Batch
from data.errors import InfeasibleConfig

T = TypeVar("T")

_SAYINGS = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Of a CPU's allocator, and of a GPU's library, in errors that are mere RuntimeErrors."""
SMALLEST = 4
"""Images of the smallest micro-batch: batch norms learn nothing of use from the statistics of fewer."""


class MicroBatches:
    """Cuts batches into as many pieces as memory asks for: one, then two, four and so on, for as long as it lives.

    A gradient that is accumulated over the pieces is the batch's, but for rounding. Batch norms see the statistics of
    a piece, not of the batch, and move their running ones once a piece; dropout draws other numbers.
    """

    def __init__(self) -> None:
        self.count = 1
        """Pieces that a batch is cut into now."""
        self.retries = True
        """Whether `run` tries again with smaller pieces; a capture cannot, for what it has recorded stays recorded."""

    def run(self, batch: Batch, work: Callable[[Sequence[Batch]], T]) -> T:
        """What `work` makes of the pieces of a batch; where memory runs out, it is called again with smaller ones.

        Raises InfeasibleConfig where pieces of `SMALLEST` images do not fit either.
        """
        while True:
            try:
                return work(_cut(batch, self.count))
            except (MemoryError, RuntimeError) as error:
                if not self.retries or not is_out_of_memory(error):
                    raise
                images = len(batch.labels_N) // self.count
                if images < 2 * SMALLEST:
                    raise InfeasibleConfig(
                        f"out of memory with {images} images at a time: {_first_line(error)}"
                    ) from None
            # Not in the handler: the error's traceback keeps what the attempt has allocated.
            self.count *= 2
            torch.cuda.empty_cache()

    def can_shrink(self, images: int) -> bool:
        """Whether a batch of so many images may be cut into twice as many pieces."""
        return images // self.count >= 2 * SMALLEST


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)


def _cut(batch: Batch, count: int) -> list[Batch]:
    """Pieces of about the same size, views of the batch; never an empty one."""
    count = min(count, len(batch.labels_N))
    if count == 1:
        return [batch]
    columns = [(None,) * count if tensor is None else tensor.tensor_split(count) for tensor in batch]
    return [Batch(*pieces) for pieces in zip(*columns, strict=True)]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
