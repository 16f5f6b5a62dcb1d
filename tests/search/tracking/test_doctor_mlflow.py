"""The doctor's command, and its checks of MLflow and the champions in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

import search.doctor.__main__ as module
from search import names
from search.cli import main_guard
from search.doctor.mlflow_side import check_champions, check_tracking
from search.store.records import read_study, update_study
from search.store.storage import open_storage
from search.tracking.client import connect


@pytest.fixture
def storage(finished):
    opened = open_storage(finished.storage_url, create=False)
    yield opened
    opened.close()


def run(settings, *arguments: str) -> int:
    line = ["--home", str(settings.home), "--tracking", settings.tracking_url, *arguments]
    return main_guard(lambda: module.main(line))


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    printed = json.loads(capsys.readouterr().out)["findings"]
    about: dict[str, list[str]] = {entry["about"]: [] for entry in printed}
    for entry in printed:
        about[entry["about"]].append(entry["state"])
    return about


def contents(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if not path.name.endswith(("-wal", "-shm", ".lock")))


def test_a_finished_study_has_no_findings_and_the_doctor_changes_nothing(finished, capsys):
    before = contents(finished.home)

    assert run(finished, "--json") == 0

    found = findings(capsys)
    assert {about for about, states in found.items() if set(states) - {"ok"}} <= {"disk", "devices"}
    assert {"storage", "trials", "tracking", "registry", "seal", "checkpoints", "cache"} <= found.keys()
    assert contents(finished.home) == before


def test_the_table_shows_what_is_broken_and_how_to_repair_it(finished, storage, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # A narrow table breaks the address, depending on the length of the paths.
    update_study(storage, "partA", champion={"model_uri": "models:/partA/7"})

    assert run(finished) == 1

    printed = capsys.readouterr()
    assert "does not have models:/partA/7" in " ".join(printed.out.split())
    assert printed.err == "error: broken: registry; the last column shows how to repair it\n"


def test_without_a_database_the_doctor_reports_that_and_checks_the_rest(tmp_path, capsys):
    assert main_guard(lambda: module.main(["--home", str(tmp_path / "home"), "--json"])) == 1

    found = findings(capsys)
    assert found["storage"] == ["broken"] and "devices" in found and "tracking" not in found
    assert not (tmp_path / "home").exists()


def test_mlflow_that_is_down_is_broken_and_the_champion_cannot_be_checked(finished, storage):
    down = replace(finished, tracking_url="http://127.0.0.1:9")
    assert [finding.state for finding in check_tracking(down, storage)] == ["broken"]
    assert [finding.state for finding in check_champions(down, storage)] == ["broken"]


def test_a_missing_tracking_database_is_not_created(finished, storage, tmp_path):
    gone = replace(finished, tracking_url=f"sqlite:///{tmp_path / 'gone.db'}")
    assert [finding.state for finding in check_tracking(gone, storage)] == ["broken"]
    assert list(check_champions(gone, storage)) == []
    assert not (tmp_path / "gone.db").exists()


def test_a_champion_whose_files_have_changed_is_broken(finished, storage, finished_home, tmp_path):
    (weights,) = finished_home.rglob(f"model/artifacts/{names.BUNDLE_FOLDER}/*.safetensors")
    original = weights.read_bytes()
    weights.write_bytes(original[:-4] + b"\x00\x00\x00\x01")
    try:
        (finding,) = check_champions(finished, storage)
    finally:
        weights.write_bytes(original)
    assert finding.state == "broken" and "files have changed since it was registered" in finding.text


def test_an_alias_that_names_another_version_is_a_warning(finished, storage):
    client = connect(finished.tracking_url)
    version = client.get_model_version("partA", "1")
    other = client.create_model_version("partA", version.source, version.run_id, tags=version.tags)
    client.set_registered_model_alias("partA", names.CHAMPION_ALIAS, other.version)
    (finding,) = check_champions(finished, storage)
    assert finding.state == "warning" and "models:/partA/2" in finding.text


def test_mending_sends_mlflow_what_it_lacks(searched, capsys):
    searched.pin(trials=1)
    trial = searched.begin()
    searched.epoch(trial, 1, 0.1)
    searched.end(trial, TrialState.COMPLETE, 0.1)
    record = read_study(searched.storage, "partA")
    assert record is not None
    assert [finding.state for finding in check_tracking(searched.settings, searched.storage)] == ["ok", "warning"]

    assert run(searched.settings, "--mend") == 0

    assert "partA: 1 trial and 0 looks sent, 0 trials left" in capsys.readouterr().err
    assert [finding.state for finding in check_tracking(searched.settings, searched.storage)] == ["ok"]
