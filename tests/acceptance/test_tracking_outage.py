"""MLflow that is down never fails a trial; only the promotion waits for it."""

from __future__ import annotations

import pytest

from tests.acceptance.checks import assert_exactly_as_planned
from tests.acceptance.forks import run_on
from tests.acceptance.service import STUDY_FILES, Service

pytestmark = pytest.mark.slow

COMMAND = ("search.run", "--study", str(STUDY_FILES / "tiny.py"), "--workers", "2")
NOBODY_ANSWERS = "http://127.0.0.1:9"


def test_a_search_without_mlflow_trains_all_and_is_promoted_when_it_is_back(service: Service) -> None:
    down = run_on(service, *COMMAND, "--tracking", NOBODY_ANSWERS)

    assert down.code == 1
    assert "Traceback" not in down.err
    lines = down.err.splitlines()
    assert lines[-1].startswith("error: MLflow at http://127.0.0.1:9")
    assert sum("the search continues" in line for line in lines) == 1
    assert {trial.state for trial in service.trials()} <= {"COMPLETE", "PRUNED"}
    before = service.result_table()

    up = run_on(service, *COMMAND, "--json")

    assert up.json()["champion"]["model_uri"] == "models:/tiny/1"
    assert service.result_table() == before
    assert_exactly_as_planned(service)
