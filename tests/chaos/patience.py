"""Waiting on a machine that may be busy with something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tests.acceptance.service import wait_for

T = TypeVar("T")

PATIENCE_S = 240.0


def patiently(condition: Callable[[], T | None], what: str) -> T:
    """The first true value of a condition that is asked again and again."""
    return wait_for(condition, what, timeout_s=PATIENCE_S)
