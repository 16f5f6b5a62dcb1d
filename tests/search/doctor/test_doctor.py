"""The doctor finds what is wrong, makes safe repairs, and touches nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState
from sqlalchemy import delete, text, update

from data.files import write_json
from data.leftovers import damaged_entries, unfinished_entries
from search import names
from search.doctor.database import check_schema, check_seal, check_sqlite, check_trials
from search.doctor.devices import check_devices
from search.doctor.finding import Finding
from search.doctor.home import check_cache, check_checkpoints, check_disk
from search.doctor.mend import requeue
from search.store.claims import Result, finish
from search.store.look_result import LookResult
from search.store.records import create_study
from search.store.seal import close_look, open_look
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.store.tables import epochs, leases
from search.trials.artifacts import SharedFolder
from search.trials.working_files import leftover_checkpoints, remove_leftovers
from tests.search.conftest import OpenStage, open_stage, settings_at


@pytest.fixture
def stage(storage: Storage) -> OpenStage:
    create_study(storage, "tiny", definition=StudyDefinition(), data=StudyData())
    return open_stage(storage)


def states(findings: Iterable[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_database_that_sieve_created_has_no_findings(stage: OpenStage) -> None:
    stage.claim()
    checks = (check_schema, check_sqlite, check_trials, check_seal)
    found = [finding for check in checks for finding in check(stage.storage)]
    assert set(states(found)) == {"ok"} and len(found) >= 3
    assert "secret" not in found[0].text


def test_missing_tables_and_columns_are_named(stage: OpenStage) -> None:
    with stage.storage.engine.begin() as connection:
        connection.execute(text("ALTER TABLE sieve_look DROP COLUMN reason"))
        epochs.drop(connection)
    finding = only(check_schema(stage.storage))
    assert finding.state == "broken"
    assert "sieve_epoch" in finding.text and "sieve_look.reason" in finding.text


def test_a_running_trial_without_a_worker_is_found_and_requeued(stage: OpenStage) -> None:
    claim = stage.claim()
    with stage.storage.engine.begin() as connection:
        connection.execute(delete(leases))
    finding = only(check_trials(stage.storage))
    assert (finding.state, finding.text) == ("broken", "running without a worker: tiny/1-one #0")
    assert requeue(stage.storage) == 1
    assert states(check_trials(stage.storage)) == ["ok"]
    assert stage.storage.optuna.get_trial(claim.trial_id).state == TrialState.WAITING


def test_an_expired_lease_is_a_warning_and_its_trial_is_requeued(stage: OpenStage) -> None:
    stage.claim()
    with stage.storage.engine.begin() as connection:
        connection.execute(update(leases).values(expires_at=1.0))
    assert states(check_trials(stage.storage)) == ["warning"]
    assert requeue(stage.storage) == 1
    assert stage.claim().number == 0


def test_a_trial_in_training_is_not_requeued(stage: OpenStage) -> None:
    claim = stage.claim()
    assert requeue(stage.storage) == 0
    finish(stage.storage, claim, Result(outcome="complete", value=0.5))


def test_a_look_without_a_result_is_a_warning_with_the_command_for_another_look(stage: OpenStage) -> None:
    number = open_look(stage.storage, "tiny", by="me", model_uri="models:/tiny/1", reason=None)
    finding = only(check_seal(stage.storage))
    assert finding.state == "warning" and finding.mend is not None
    assert finding.mend.startswith("sieve evaluate --study tiny --again")
    close_look(stage.storage, "tiny", number, LookResult(accuracy=0.5))
    assert states(check_seal(stage.storage)) == ["ok"]


def test_only_checkpoints_of_trials_that_have_ended_are_deleted(stage: OpenStage, tmp_path: Path) -> None:
    ended, running = stage.claim(), stage.claim()
    finish(stage.storage, ended, Result(outcome="complete", value=0.5))
    paths = {}
    for claim in (ended, running):
        folder = names.trial_folder(tmp_path, "tiny", "one", claim.number)
        (folder / names.BUNDLE_FOLDER).mkdir(parents=True)
        (folder / names.BUNDLE_FOLDER / "classifier.json").touch()
        paths[claim.number] = folder / f"0-{names.CHECKPOINT_FILE}"
        paths[claim.number].write_bytes(b"weights")
    left = list(leftover_checkpoints(stage.storage, tmp_path, "tiny"))
    assert left == [paths[ended.number]]
    assert states(check_checkpoints(settings_at(tmp_path), stage.storage)) == ["warning"]

    remove_leftovers(stage.storage, SharedFolder(tmp_path), "tiny")

    assert not paths[ended.number].exists() and paths[running.number].exists()
    assert len(list(tmp_path.rglob("classifier.json"))) == 2
    assert states(check_checkpoints(settings_at(tmp_path), stage.storage)) == ["ok"]


def test_free_disk_space_is_reported_even_before_the_home_exists(tmp_path: Path) -> None:
    finding = only(check_disk(settings_at(tmp_path / "not" / "yet")))
    assert str(tmp_path) in finding.text and "GiB free" in finding.text


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """An undamaged cache entry."""
    folder = settings_at(tmp_path).cache_home / "0123456789abcdef-8px-crop-1ch-v1"
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.zeros((5, 8, 8, 1), np.uint8))
    np.save(folder / "sums.npy", np.zeros((5, 2, 1), np.int64))
    write_json(folder.with_name(f"{folder.name}.report.json"), {"root": "here", "images": 5, "unreadable": []})
    return folder


def test_an_undamaged_cache_entry_has_no_findings(entry: Path, tmp_path: Path) -> None:
    assert states(check_cache(settings_at(tmp_path))) == ["ok"]


@pytest.mark.parametrize("damage", ["truncated", "without sums", "without a report"])
def test_a_damaged_cache_entry_is_found(damage: str, entry: Path, tmp_path: Path) -> None:
    match damage:
        case "truncated":
            images = entry / "images.npy"
            images.write_bytes(images.read_bytes()[:-1])
        case "without sums":
            (entry / "sums.npy").unlink()
        case "without a report":
            entry.with_name(f"{entry.name}.report.json").unlink()
    assert damaged_entries(entry.parent) == [entry]
    assert states(check_cache(settings_at(tmp_path))) == ["warning"]


def test_a_half_decoded_entry_is_unfinished_once_no_process_works_on_it(entry: Path) -> None:
    from data.files import locked

    part = entry.with_name(f"{entry.name}.part")
    shutil.move(entry, part)
    with locked(entry.with_name(f"{entry.name}.lock")):
        assert unfinished_entries(part.parent) == []
    assert unfinished_entries(part.parent) == [part]
    assert damaged_entries(part.parent) == []


def test_the_devices_of_this_machine_are_reported() -> None:
    assert "ok" in states(check_devices())
