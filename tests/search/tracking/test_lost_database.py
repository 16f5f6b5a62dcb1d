"""A tracking database that somebody deleted, or replaced by an older copy, is filled again from the home."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import UserError
from models.values import to_flat
from search import names
from search.doctor.mlflow_side import check_champions, check_tracking
from search.evaluate import evaluate
from search.settings import Settings
from search.stage.describe import describe_study
from search.store.records import read_study, update_study
from search.store.seal import looks
from search.store.storage import Storage, open_storage
from search.sync import Synced, sync
from search.tracking import tags
from search.tracking.client import connect
from search.tracking.mirror import Mirror
from search.tracking.model_registry import is_registered, load_champion, register_champion
from studies.quickstart import QUICKSTART


@pytest.fixture
def lost(finished: Settings, bundle: Path, empty_mlflow: Path) -> Settings:
    """A finished home whose MLflow database was lost after its champion was tested; a new, empty one is in use."""
    shutil.copytree(bundle, names.trial_folder(finished.home, "partA", "confirm", 0) / names.BUNDLE_FOLDER)
    storage = open_storage(finished.storage_url, create=False)
    record = read_study(storage, "partA")
    assert record is not None and record.champion is not None
    measured = (0.4, 0.6)
    champion = replace(
        record.champion, config=to_flat(QUICKSTART.config), value=0.5, values=(0.5,), val_accuracy=0.5,
        val_accuracy_seeds=(0.5,), val_accuracy_interval=measured, value_interval=measured, seeds=(1,),
    )  # fmt: skip
    data = replace(record.data, classes=("ants", "bees", "cats"), train=20, val=4)
    update_study(
        storage,
        "partA",
        definition=describe_study(QUICKSTART).to_json(),
        data=data.to_json(),
        champion=champion.to_json(),
    )
    storage.close()
    evaluate(finished, "partA")
    url = finished.tracking_url.replace("mlflow.db", "new.db")
    shutil.copy(empty_mlflow, finished.home / "new.db")
    return replace(finished, tracking_url=url)


def synced(settings: Settings) -> Synced:
    storage = open_storage(settings.storage_url, create=False)
    try:
        return sync(settings, storage, "partA")
    finally:
        storage.close()


def test_a_champion_that_mlflow_has_lost_is_refused_with_the_command_that_brings_it_back(lost):
    with pytest.raises(UserError, match=r"does not have models:/partA/1; .* run `sieve sync"):
        load_champion(lost, "models:/partA/1")


def test_everything_is_sent_again_and_the_champion_is_registered_again(lost, pictures):
    result = synced(lost)
    assert (result.trials_sent, result.looks_sent, result.champion_registered) == (1, 1, True)
    assert (result.trials_left, result.failure) == (0, None)
    assert "champion registered again" in str(result)
    assert load_champion(lost, "models:/partA@champion").registered.uri == "models:/partA/1"
    client = connect(lost.tracking_url)
    version = client.get_model_version("partA", "1")
    assert version.tags["test_looks"] == "1"
    run = client.get_run(version.run_id)
    assert (run.data.metrics["val_accuracy"], run.data.tags[tags.STUDY]) == (0.5, "partA")
    again = synced(lost)
    assert (again.trials_sent, again.looks_sent, again.champion_registered) == (0, 0, False)


def test_a_version_that_comes_back_with_another_number_is_renamed_everywhere(lost, bundle):
    client = connect(lost.tracking_url)
    experiment = client.create_experiment("other", (lost.home / "other").as_uri())
    for text in ("a", "b"):
        run = client.create_run(experiment)
        (bundle_of := lost.home / text).mkdir()
        shutil.copytree(bundle, bundle_of, dirs_exist_ok=True)
        (bundle_of / "note").write_text(text)
        register_champion(lost, "partA", bundle_of, run_id=run.info.run_id, metrics={}, description="")
    client.delete_model_version("partA", "1")

    assert synced(lost).champion_registered
    storage = open_storage(lost.storage_url, create=False)
    record = read_study(storage, "partA")
    assert record.champion.model_uri == "models:/partA/3"
    assert [look.model_uri for look in looks(storage, "partA")] == ["models:/partA/3"]
    storage.close()
    assert load_champion(lost, "models:/partA/3").classes == ("ants", "bees", "cats")


def test_classifiers_that_are_gone_too_are_named(lost):
    shutil.rmtree(names.trial_folder(lost.home, "partA", "confirm", 0))
    result = synced(lost)
    assert result.failure is not None and f"no classifier at {lost.home}" in result.failure


def test_a_search_that_goes_on_fills_the_lost_database(searched, empty_mlflow):
    searched.pin()
    trial = searched.begin()
    searched.epoch(trial, 1, 0.1)
    Mirror(searched.settings, searched.storage, searched.name).sync()
    shutil.copy(empty_mlflow, searched.settings.home / "new.db")
    url = searched.settings.tracking_url.replace("mlflow.db", "new.db")
    searched.epoch(trial, 2, 0.2)
    Mirror(replace(searched.settings, tracking_url=url), searched.storage, searched.name).sync()
    client = connect(url)
    experiment = client.get_experiment_by_name(searched.name)
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`{tags.KIND}` = 'trial'")
    assert [point.step for point in client.get_metric_history(run.info.run_id, "val_accuracy")] == [1, 2]


def test_a_run_that_an_older_copy_lacks_is_created_again(searched):
    searched.pin()
    trials = [searched.begin() for _ in range(2)]
    mirror = Mirror(searched.settings, searched.storage, searched.name)
    run_ids = [mirror.run_of(trial._trial_id) for trial in trials]
    client = connect(searched.settings.tracking_url)
    experiment = client.get_experiment_by_name(searched.name).experiment_id
    client.delete_run(run_ids[1])  # Somebody's wish: it is not created again.
    _erase_run(searched.settings, run_ids[0])
    assert Mirror(searched.settings, searched.storage, searched.name).sync(verify=True) == 0
    (run,) = client.search_runs([experiment], f"tags.`{tags.KIND}` = 'trial'")
    assert run.info.run_id not in run_ids
    assert run.data.tags[tags.TRIAL_ID] == str(trials[0]._trial_id)


def _erase_run(settings: Settings, run_id: str) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(settings.tracking_url)
    with engine.begin() as connection:
        for table in ("tags", "metrics", "latest_metrics", "params", "runs"):
            connection.execute(text(f"DELETE FROM {table} WHERE run_uuid = :run"), {"run": run_id})
    engine.dispose()


def test_the_doctor_names_sync_for_a_lost_database_and_a_lost_champion(lost):
    storage = open_storage(lost.storage_url, create=False)
    update_study(storage, "partA", state="done")
    (champion,) = check_champions(lost, storage)
    assert (champion.state, champion.mend) == ("broken", "sieve sync --study partA")
    gone = replace(lost, tracking_url=f"sqlite:///{lost.home}/gone.db")
    (missing,) = check_tracking(gone, storage)
    storage.close()
    assert missing.state == "broken" and missing.mend is not None and "sieve sync" in missing.mend


def test_a_registry_that_has_the_champion_is_left_alone(finished, monkeypatch):
    storage: Storage = open_storage(finished.storage_url, create=False)
    assert is_registered(finished, "models:/partA/1")
    assert not sync(finished, storage, "partA").champion_registered
    storage.close()
