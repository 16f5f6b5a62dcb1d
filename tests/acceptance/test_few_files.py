"""File descriptors that are used up: one line with what to do, and the same command goes on."""

from __future__ import annotations

import pytest

from tests.acceptance.service import Service
from tests.acceptance.test_moved import STUDY_FILE

pytestmark = pytest.mark.slow

RUN = ("search.run", "--study", str(STUDY_FILE), "--workers", "1", "--json")


def test_too_many_open_files_cost_nothing(service: Service) -> None:
    ended = service.start(*RUN, fault="few_files").wait()
    assert ended.code == 2, ended.err
    line = ended.err.splitlines()[-1]
    assert line.startswith("error: ") and "Too many open files" in line and "ulimit -n" in line
    assert "Traceback" not in ended.err
    trained = service.result_table()

    assert service.run(*RUN).json()["champion"]["model_uri"] == "models:/eleven/1"
    assert set(trained) <= set(service.result_table()) and len(service.trials()) == 11
