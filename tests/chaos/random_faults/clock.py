"""The fault `clock` of `tests.acceptance.faults` for a process whose libraries are imported already."""

from __future__ import annotations

import importlib.util
import sys
import time

from tests.acceptance.service import FAULTS

NAME = "wrong_clock"


def use_wrong_clock() -> None:
    """From now on `time.time` is off by what the home says, for modules that have imported the function, too."""
    true_time = time.time
    if true_time.__module__ == NAME:  # This process is a fork of one that uses it.
        return
    spec = importlib.util.spec_from_file_location(NAME, FAULTS / "clock" / "sitecustomize.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    for module in list(sys.modules.values()):
        if vars(module).get("time") is true_time:
            module.time = time.time  # type: ignore[attr-defined]
