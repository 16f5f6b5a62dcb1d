"""The memory that a process may still use: that of the machine, or of the container that it runs in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def free_memory(root: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Bytes that are free on the machine or, if that is less, within the limits of the process's control groups.

    A container, a Slurm job or a systemd slice is a control group of Linux, whose limit may lie far below the machine's
    memory; beyond it the kernel kills the process. Pages of files count as free, since the kernel takes them back.
    Versions 1 and 2 of control groups are read; without them the machine's memory counts.
    """
    return min([int(psutil.virtual_memory().available), *_free_in_groups(root, own)])


def _free_in_groups(root: Path, own: Path) -> Iterator[int]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # Version 2 has a single tree for everything.
            yield from _free(root, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _free(root / "memory", path, *names)


def _free(tree: Path, path: str, limit: str, used: str, reclaimable: str) -> Iterator[int]:
    """Free bytes of the group and of each group above it that has a limit."""
    group = tree / path.lstrip("/")
    for folder in (group, *(parent for parent in group.parents if parent == tree or tree in parent.parents)):
        most, current = _number(folder / limit), _number(folder / used)
        if most is not None and current is not None:
            yield max(0, most - current + _statistic(folder / "memory.stat", reclaimable))


def _number(file: Path) -> int | None:
    """The number in a file; None if there is none, or `max`."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _statistic(file: Path, name: str) -> int:
    try:
        found = dict(line.split() for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(found.get(name, 0))
