"""The state of a training in one file, which is written completely or not at all."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Container
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from data.errors import UserError
from data.files import writing_below
from models.training.metrics import EpochMetrics
from models.values import FlatValue, with_defaults

FORMAT = 1
"""Version of the file's format; checkpoints of other formats are ignored."""

SHARE_ON_GPU = 0.05
"""Largest share of a training's time on a GPU that writing checkpoints takes."""
_FIRST_WRITE_S = 0.1
"""Seconds that the first checkpoint is expected to take, before any was written."""

StateDict = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a training needs to continue after its last finished epoch.

    It holds no state of random generators, because each epoch draws from generators seeded by (seed, epoch).
    """

    identity: dict[str, FlatValue]
    """The configuration, the seed and everything else that decides the result. A training with another identity may not
    continue from this checkpoint."""
    model: StateDict
    optimizer: StateDict
    average: StateDict | None
    """The moving average of the weights, if there is one."""
    best_weights: dict[str, Tensor]
    history: list[EpochMetrics]
    """One entry for each finished epoch."""


class CheckpointWriter:
    """Writes the checkpoints of a training: one after every epoch, or fewer if that would take too much of its time.

    On a GPU, an epoch of a ResNet takes less time than writing its state. A training that is interrupted then repeats
    the epochs since the last checkpoint.
    """

    def __init__(
        self,
        path: Path,
        *,
        epochs: int,
        share: float = 1.0,
        needed: Container[int] = (),
        keep_all: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Writing takes at most about `share` of the time, not counting the epochs in `needed`, which always get a
        checkpoint. With a share below 1, the last of all `epochs` gets none: the result follows at once. With
        `keep_all`, every epoch's checkpoint is written, and stays in a file of its own.
        """
        self._path, self._epochs, self._share = path, epochs, share
        self._needed, self._keep_all = needed, keep_all
        self._clock = clock
        self._next_at = clock() + self._pause_after(_FIRST_WRITE_S)

    def is_due(self, epoch: int) -> bool:
        """Whether this epoch, counted from 1, gets a checkpoint."""
        if self._keep_all or epoch in self._needed:
            return True
        return self._clock() >= self._next_at and (epoch < self._epochs or self._share == 1)

    def write(self, epoch: int, checkpoint: Checkpoint) -> None:
        """Write the state after an epoch. Raises UserError if the disk is full or not writable."""
        started_s = self._clock()
        if self._keep_all:
            save_checkpoint(kept_checkpoint(self._path, epoch), checkpoint)
        save_checkpoint(self._path, checkpoint)
        ended_s = self._clock()
        self._next_at = ended_s + self._pause_after(ended_s - started_s)

    def _pause_after(self, writing_s: float) -> float:
        """The seconds without a checkpoint after one that took so long."""
        return writing_s * (1 / self._share - 1)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file atomically: after a crash at any moment, it holds either the old state or the new one.

    Raises UserError if the disk is full or not writable.
    """
    content = {**vars(checkpoint), "history": [asdict(metrics) for metrics in checkpoint.history], "format": FORMAT}
    # Serialised in memory, so that an error below comes from the disk, and an error here does not.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with writing_below(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def kept_checkpoint(path: Path, epoch: int) -> Path:
    """The path of an epoch's kept checkpoint, e.g. `checkpoint-epoch-003.pt` beside `checkpoint.pt`."""
    return path.with_name(f"{path.stem}-epoch-{epoch:03d}{path.suffix}")


def load_checkpoint(path: Path, identity: dict[str, FlatValue], device: torch.device) -> Checkpoint | None:
    """Read a checkpoint; None if there is no file, or if the file is incomplete or of another format.

    Nothing in the file is executed (`weights_only=True`). Raises UserError if it belongs to another training.
    """
    content = _read(path, device)
    if content is None:
        return None
    checkpoint = Checkpoint(**{**content, "history": [EpochMetrics(**metrics) for metrics in content["history"]]})
    stored = with_defaults(checkpoint.identity)
    for name in sorted(identity.keys() | stored.keys()):
        saved, asked = stored.get(name), identity.get(name)
        if saved != asked:
            raise UserError(f"{path}: a checkpoint with {name}={saved}, not {asked}; delete it or choose another path")
    return checkpoint


def read_history(path: Path) -> list[EpochMetrics]:
    """The finished epochs of a checkpoint; empty if there is no file or it is incomplete."""
    content = _read(path, torch.device("cpu"))
    return [EpochMetrics(**metrics) for metrics in content["history"]] if content else []


def _read(path: Path, device: torch.device) -> dict[str, Any] | None:
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError):
        return None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        return None
    return content
