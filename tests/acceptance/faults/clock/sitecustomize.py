"""The clock of a machine that jumps: `time.time` is off by the seconds in the home's file `clock-offset`."""

import os
import time
from pathlib import Path

_offset = Path(os.environ["SIEVE_HOME"]) / "clock-offset"
_true_time = time.time


def _wrong_time() -> float:
    try:
        return _true_time() + float(_offset.read_text())
    except (OSError, ValueError):
        return _true_time()


time.time = _wrong_time
