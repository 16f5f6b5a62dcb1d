"""Names for processes that stay unique across machines and reused process ids."""

from __future__ import annotations

import os
import socket

import psutil

CLOCK_STEP_S = 2.0
"""A living process's start may move so far: it is counted from the machine's boot, whose time is corrected."""


def process_name(pid: int | None = None) -> str:
    """`host:pid:start`, for this process or another one on this machine."""
    process = psutil.Process(pid or os.getpid())
    return f"{socket.gethostname()}:{process.pid}:{process.create_time():.0f}"


def is_dead(name: str) -> bool:
    """True if `name` lived on this machine and is gone; False if it lives, or where that cannot be known from here."""
    host, pid, start = name.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(pid))
        moved_s = abs(process.create_time() - int(start))
        return moved_s > CLOCK_STEP_S or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
