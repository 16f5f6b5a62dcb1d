"""The registry: a champion exists whole or not at all, whatever step fails."""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow.artifacts
import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from data.errors import SieveError, UserError
from data.files import hash_folder
from models.bundle import load_bundle
from search import names
from search.tracking import model_registry
from search.tracking.client import connect
from search.tracking.model_registry import load_champion, log_bundle, register_champion

OTHERS = 0o640
"""Permissions that mark files of another user."""


@pytest.fixture
def settings(searched):
    return searched.settings


@pytest.fixture
def run_id(searched) -> str:
    """A run such as the mirror makes."""
    client = connect(searched.settings.tracking_url)
    experiment = client.create_experiment("partA", artifact_location=searched.settings.artifact_location)
    return client.create_run(experiment).info.run_id


def register(settings, bundle: Path, run_id: str):
    return register_champion(
        settings, "partA", bundle, run_id=run_id, metrics={"val_accuracy": 0.5}, description="best"
    )


def pictures_of_noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 300])
def test_the_champion_answers_like_the_classifier_for_any_batch_size(settings, run_id, bundle, count):
    register(settings, bundle, run_id)
    champion = load_champion(settings, "models:/partA@champion")
    images = pictures_of_noise(count)
    answer = champion.model.predict(images)
    assert answer.dtype == np.float32  # type: ignore[attr-defined]
    assert np.array_equal(answer, load_bundle(bundle).predict_proba(images))
    assert champion.classes == ("ants", "bees", "cats")
    assert champion.input_shape == (3, 12, 12)
    assert champion.image_fit == "crop"


def test_a_picture_of_another_size_or_type_is_refused(settings, run_id, bundle):
    register(settings, bundle, run_id)
    model = load_champion(settings, "models:/partA@champion").model
    for wrong in (np.zeros((1, 13, 12, 3), np.uint8), np.zeros((1, 12, 12, 3), np.float32)):
        with pytest.raises(Exception, match="schema"):
            model.predict(wrong)


def test_the_model_version_names_its_contents_and_its_run(settings, run_id, bundle):
    registered = register(settings, bundle, run_id)
    version = connect(settings.tracking_url).get_model_version_by_alias("partA", names.CHAMPION_ALIAS)
    assert registered.uri == f"models:/partA/{version.version}"
    assert version.run_id == run_id
    assert version.tags["val_accuracy"] == "0.5"
    assert version.description == "best"


def test_registering_the_same_classifier_again_gives_the_same_version(settings, run_id, bundle):
    assert register(settings, bundle, run_id) == register(settings, bundle, run_id)


@pytest.mark.parametrize("step", ["log_artifacts", "create_model_version", "set_registered_model_alias"])
def test_a_crash_at_any_step_of_promotion_leaves_the_old_champion_whole(
    settings, run_id, bundle, tmp_path, monkeypatch, step
):
    old = register(settings, bundle, run_id)
    better = tmp_path / "better" / names.BUNDLE_FOLDER
    shutil.copytree(bundle, better)
    (better / "classifier.json").write_text((bundle / "classifier.json").read_text() + "\n")
    client = connect(settings.tracking_url)
    other_run = client.create_run(client.get_run(run_id).info.experiment_id).info.run_id

    def crash(*arguments, **keywords):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(client), step, crash)
        with pytest.raises(KeyboardInterrupt):
            register(settings, better, other_run)
    assert load_champion(settings, "models:/partA@champion").registered == old
    new = register(settings, better, other_run)
    assert load_champion(settings, "models:/partA@champion").registered == new
    assert (old.version, new.version) == ("1", "2")


@pytest.mark.parametrize("step", ["log_artifacts", "create_model_version", "set_registered_model_alias"])
def test_a_full_disk_at_any_step_of_promotion_is_one_line_and_the_same_call_goes_on(
    settings, run_id, bundle, monkeypatch, step
):
    client = connect(settings.tracking_url)

    def fill(*arguments, **keywords):
        raise MlflowException("not written") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/file")

    with monkeypatch.context() as patch:
        patch.setattr(type(client), step, fill)
        with pytest.raises(UserError, match="/disk/file: No space left on device; free some space") as refused:
            register(settings, bundle, run_id)
    assert "\n" not in str(refused.value)
    assert not client.get_registered_model("partA").aliases
    assert register(settings, bundle, run_id).version == "1"
    assert load_champion(settings, "models:/partA@champion").registered.version == "1"


def test_what_an_interrupted_upload_of_another_user_left_is_replaced(settings, run_id, bundle, monkeypatch):
    log_bundle(settings, run_id, bundle)
    left = Path(connect(settings.tracking_url).get_run(run_id).info.artifact_uri.removeprefix("file://"))
    (left / names.BUNDLE_FOLDER / "weights.safetensors").write_bytes(b"half")
    (left / names.BUNDLE_FOLDER / "stray").touch()
    for path in (left / names.BUNDLE_FOLDER).iterdir():
        path.chmod(OTHERS)
    set_times = os.utime

    def by_the_owner_only(path, *arguments, **keywords):
        if os.stat(path).st_mode & 0o777 == OTHERS:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        set_times(path, *arguments, **keywords)

    owner = os.geteuid()
    monkeypatch.setattr(os, "utime", by_the_owner_only)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    log_bundle(settings, run_id, bundle)
    assert hash_folder(left / names.BUNDLE_FOLDER) == hash_folder(bundle)


def damage_downloads(monkeypatch, *, first):
    """Change the files that the `first` downloads return."""
    download, calls = mlflow.artifacts.download_artifacts, iter(range(1_000))

    def damage(**arguments):
        returned = download(**arguments)
        if next(calls) < first:
            weights = next(Path(returned).rglob("*.safetensors"))
            weights.write_bytes(weights.read_bytes()[:-1])
        return returned

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", damage)
    monkeypatch.setattr(model_registry, "LONGEST_PAUSE_S", 0.001)


def test_an_upload_that_other_promoters_disturb_again_and_again_is_repeated(settings, run_id, bundle, monkeypatch):
    damage_downloads(monkeypatch, first=5)
    registered = register(settings, bundle, run_id)
    assert load_champion(settings, registered.uri).registered == registered


def test_files_that_come_back_changed_are_never_given_a_version(settings, run_id, bundle, monkeypatch):
    damage_downloads(monkeypatch, first=1_000)
    with pytest.raises(SieveError, match="returned files that differ from those sent"):
        register(settings, bundle, run_id)
    assert connect(settings.tracking_url).search_model_versions("name = 'partA'") == []


def test_what_the_registry_does_not_hold_is_a_bad_request(settings):
    for uri in ("models:/partA@champion", "models:/partA/1"):
        with pytest.raises(UserError, match="does not have models:"):
            load_champion(settings, uri)


def test_a_server_that_refuses_is_one_line(settings, bundle):
    with pytest.raises(SieveError, match=r"^MLflow at http://127.0.0.1:9[^\n]*$"):
        register(replace(settings, tracking_url="http://127.0.0.1:9"), bundle, "run")


def test_a_finalists_classifier_is_kept_with_its_run(settings, run_id, bundle, tmp_path):
    log_bundle(settings, run_id, bundle)
    kept = connect(settings.tracking_url).download_artifacts(run_id, names.BUNDLE_FOLDER, str(tmp_path))
    assert hash_folder(Path(kept)) == hash_folder(bundle)


def test_any_study_name_becomes_a_name_that_mlflow_allows():
    made = [names.registered_model(name) for name in ("partA", "a b", "a-b", "a:b", "../..")]
    assert [re.sub("-[0-9a-f]{6}$", "", name) for name in made] == ["partA", "a-b", "a-b", "a-b", "..-.."]
    assert len(set(made)) == len(made), "two studies share a model"


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_a_model_card_longer_than_mlflow_keeps_is_shortened(settings, bundle, tmp_path, backend, request):
    if backend == "postgres":
        settings = replace(settings, tracking_url=request.getfixturevalue("postgres_url"))
    client = connect(settings.tracking_url)
    run_id = client.create_run(client.create_experiment("long", tmp_path.as_uri())).info.run_id
    card = "".join(f"class {number}: ü\n" for number in range(1000))
    register_champion(settings, "long", bundle, run_id=run_id, metrics={}, description=card)
    kept = client.get_model_version("long", "1").description
    assert len(kept) <= 5000 and kept.startswith("class 0: ü\n") and kept.endswith("keeps 5,000 characters)")
