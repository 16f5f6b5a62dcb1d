"""Names for processes that stay unique across machines and reused process ids."""

from __future__ import annotations

import os
import socket
import uuid
from functools import cache
from hashlib import blake2b
from pathlib import Path

import psutil

CLOCK_STEP_S = 2.0
"""Seconds by which the start time of a running process may change: it is derived from the boot time, which the clock's
corrections move."""


@cache
def _host() -> str:
    """The host name with a hash of the machine and process namespace: two machines or containers may share a name."""
    try:
        seen = f"{Path('/proc/sys/kernel/random/boot_id').read_text()}{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        seen = str(uuid.getnode())  # Not on Linux.
    return f"{socket.gethostname()}-{blake2b(seen.encode(), digest_size=3).hexdigest()}"


def process_name(pid: int | None = None) -> str:
    """The name `host:pid:start` of this process, or of another one on this machine."""
    process = psutil.Process(pid or os.getpid())
    return f"{_host()}:{process.pid}:{process.create_time():.0f}"


def is_dead(name: str) -> bool:
    """True if `name` ran on this machine and has ended; False if it runs, or if it belongs to another machine."""
    host, pid, start = name.rsplit(":", 2)
    if host != _host():
        return False
    try:
        process = psutil.Process(int(pid))
        moved_s = abs(process.create_time() - int(start))
        return moved_s > CLOCK_STEP_S or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
