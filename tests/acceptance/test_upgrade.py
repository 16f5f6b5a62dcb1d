"""A study that Sieve 0.1.0 began is continued by this version, to its champion and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.forks import run_on
from tests.acceptance.service import Service
from tests.old_databases import STUDY_FILE

pytestmark = pytest.mark.slow


def test_a_study_of_0_1_0_goes_on_to_its_champion_and_its_report(old_url: str, tmp_path: Path) -> None:
    service = Service(tmp_path, old_url)
    finished_before = {trial.trial_id: trial for trial in service.trials() if trial.state == "COMPLETE"}
    assert len(finished_before) == 6
    if not old_url.startswith("sqlite"):
        refused = run_on(service, "search.run", "--study", str(STUDY_FILE), "--devices", "cpu")
        assert (refused.code, len(refused.err.splitlines())) == (2, 1) and "sieve init" in refused.err
        assert run_on(service, "search.init").code == 0

    result = run_on(service, "search.run", "--study", str(STUDY_FILE), "--devices", "cpu", "--workers", "2", "--json")

    stages = {stage["name"]: stage for stage in result.json()["stages"]}
    assert stages["wide"]["complete"] == 4
    assert stages["near"]["complete"] + stages["near"]["pruned"] == 8
    assert result.json()["champion"]["model_uri"] == "models:/halfway/1"
    after = {trial.trial_id: trial for trial in service.trials()}
    assert {trial_id: after[trial_id] for trial_id in finished_before} == finished_before
    report = run_on(service, "search.report", "--study", "halfway")
    assert report.code == 0, report.err
    (page,) = service.home.rglob("report.html")
    assert {"near", "champion"} <= set(page.read_text().replace("<", " ").replace(">", " ").split())
    assert len(service.query("SELECT * FROM sieve_command")) == 2
    service.end()
