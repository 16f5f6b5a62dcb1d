"""Every epoch takes a while longer, so that a signal surely finds a trial in mid-training; results stay the same."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.batches import EvalBatches

EXTRA_S = 0.3
_at_full_speed = Path(os.environ["SIEVE_HOME"]) / "at-full-speed"
_iterate = EvalBatches.__iter__


def _slowly(self: EvalBatches) -> Iterator[Any]:
    if not _at_full_speed.exists():
        time.sleep(EXTRA_S)
    yield from _iterate(self)


EvalBatches.__iter__ = _slowly  # type: ignore[method-assign]
