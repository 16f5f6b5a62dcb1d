"""Notices a SQLite file on a network drive, where locks may not hold between machines."""

from __future__ import annotations

from pathlib import Path

import psutil

_NETWORK_KINDS = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "ncpfs")
"""Beginnings of the names of network file systems."""


def network_drive(place: Path) -> str | None:
    """The kind of the network file system that holds a path, such as `nfs4`; None on a local disk."""
    place = place.expanduser().absolute()
    mounts = [partition for partition in psutil.disk_partitions(all=True) if place.is_relative_to(partition.mountpoint)]
    if not mounts:
        return None
    kind = max(mounts, key=lambda partition: len(Path(partition.mountpoint).parts)).fstype
    return kind if kind.lower().startswith(_NETWORK_KINDS) else None
