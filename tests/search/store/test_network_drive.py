"""A SQLite file on a network drive is noticed, and warned of where a search starts and by the doctor."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from search.doctor.database import check_sqlite
from search.store.network_drive import network_drive
from search.store.storage import Storage, open_storage


def mounted(monkeypatch: pytest.MonkeyPatch, **kinds: str) -> None:
    mounts = [SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in {"/": "ext4", **kinds}.items()]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"])
def test_the_innermost_file_system_decides(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, **{"/mnt/team": kind, "/mnt/team/scratch": "xfs"})
    assert network_drive(Path("/mnt/team/runs")) == kind
    assert network_drive(Path("/mnt/team/scratch/runs")) is None
    assert network_drive(Path("/mnt/teams/runs")) is None


def test_a_real_local_folder_is_none(tmp_path: Path) -> None:
    assert network_drive(tmp_path) is None


def test_the_doctor_warns_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage: Storage = open_storage(f"sqlite:///{tmp_path}/sieve.db", create=True)
    mounted(monkeypatch, **{str(tmp_path): "nfs4"})
    warnings = [finding for finding in check_sqlite(storage) if finding.state == "warning"]
    storage.close()
    assert ["nfs4" in finding.text and "--storage" in (finding.mend or "") for finding in warnings] == [True]
