"""The memory that is free in a container, where its limit is below the machine's memory."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from models.free_memory import free_memory

MIB = 2**20


def group(folder: Path, *, limit: str, used: int, version: int = 2, files: int = 0) -> None:
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {files}\n")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The control groups of this process: version 2."""
    file = tmp_path / "cgroup"
    file.write_text("0::/slurm/job_7\n")
    return file


def test_a_limit_below_the_machine_s_memory_counts_and_pages_of_files_are_free(tmp_path: Path, own: Path) -> None:
    group(tmp_path / "slurm/job_7", limit=str(100 * MIB), used=70 * MIB, files=20 * MIB)
    assert free_memory(tmp_path, own) == 50 * MIB


def test_the_tightest_group_above_the_process_counts(tmp_path: Path, own: Path) -> None:
    group(tmp_path / "slurm/job_7", limit="max", used=10 * MIB)
    group(tmp_path / "slurm", limit=str(40 * MIB), used=30 * MIB)
    group(tmp_path, limit=str(90 * MIB), used=30 * MIB)
    assert free_memory(tmp_path, own) == 10 * MIB


def test_version_1_keeps_memory_in_a_tree_of_its_own(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("5:cpu,cpuacct:/docker/ab\n3:memory:/docker/ab\n")
    group(tmp_path / "memory/docker/ab", limit=str(64 * MIB), used=80 * MIB, version=1)
    assert free_memory(tmp_path, own) == 0


@pytest.mark.parametrize("limit", ["max", str(2**62)])
def test_without_a_limit_the_machine_s_memory_counts(tmp_path: Path, own: Path, limit: str) -> None:
    group(tmp_path / "slurm/job_7", limit=limit, used=MIB)
    free = free_memory(tmp_path, own)
    assert free == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    assert free_memory(tmp_path, tmp_path / "none") == pytest.approx(free, rel=0.2)
