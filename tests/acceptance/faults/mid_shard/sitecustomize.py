"""A process stops in the middle of writing its second shard of features, whose first half holds other numbers."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.training import feature_store
from models.training.feature_store import FloatArray

_stopped = Path(os.environ["SIEVE_HOME"]) / "mid-shard"
_try_shard = feature_store._try_shard


def _half_written(folder: Path, start: int, stop: int, compute: Callable[[int, int], FloatArray]) -> bool:
    def stops(start: int, stop: int) -> FloatArray:
        if start:
            values = np.load(folder / feature_store._VALUES, mmap_mode="r+")
            values[start : (start + stop) // 2] = 7.0
            values.flush()
            _stopped.touch()
            time.sleep(600)
        return compute(start, stop)

    return _try_shard(folder, start, stop, stops)


feature_store._try_shard = _half_written
