"""A disk that is full at the end of a search: one line, nothing half-written, and the same command goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import Finished, Service
from tests.acceptance.test_moved import STUDY_FILE

pytestmark = pytest.mark.slow

RUN = ("search.run", "--study", str(STUDY_FILE), "--workers", "1", "--json")
REPORT = ("search.report", "--study", "eleven", "--json")
DISK_SIZE = "24m"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service whose home is a small disk of its own, which only root can make."""
    made = Service(tmp_path)
    made.home.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can make a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(made.home)]
    if (refused := subprocess.run(mount, capture_output=True, text=True)).returncode:
        pytest.skip(f"no small disk can be made here: {refused.stderr.strip()}")
    try:
        yield made
    finally:
        made.end()
        subprocess.run(["umount", str(made.home)], check=True)


def free_space(service: Service) -> None:
    (service.home / "ballast").unlink()


def assert_full(ended: Finished, service: Service) -> None:
    """The command ended with one line that names a place in the home, and what to do."""
    assert ended.code == 2, ended.err
    line = ended.err.splitlines()[-1]
    assert line.startswith("error: ") and str(service.home) in line and "free some space" in line
    assert "Traceback" not in ended.err


def test_a_full_disk_at_the_end_of_a_search_costs_nothing(service: Service) -> None:
    assert_full(service.start(*RUN, fault="full_disk").wait(), service)
    free_space(service)
    result = service.run(*RUN).json()
    assert result["champion"]["model_uri"] == "models:/eleven/1"
    assert all(trial.state == "COMPLETE" for trial in service.trials()) and len(service.trials()) == 11

    report = Path(result["report"])
    before = report.read_bytes()
    assert_full(service.start(*REPORT, fault="full_disk").wait(), service)
    assert report.read_bytes() == before
    assert [path.name for path in report.parent.iterdir() if path.name.startswith(report.name)] == [report.name]
    free_space(service)
    assert service.run(*REPORT).json()["report"] == str(report)
