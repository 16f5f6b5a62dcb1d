"""A home that was renamed, copied, or has a name with unusual characters keeps its champion."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from search.settings import Settings
from search.tracking.client import answering
from search.tracking.model_registry import load_champion, register_champion
from search.tracking.moved_home import follow_home
from search.urls import sqlite_url
from tests.search.tracking.conftest import make_settings

CHAMPION = "models:/partA@champion"
ODD = "a?b %20 #c'\"ü[x]"


def settings_of(home: Path) -> Settings:
    return make_settings(
        home,
        storage_url=sqlite_url(home / "sieve.db"),
        tracking_url=sqlite_url(home / "mlflow.db"),
    )


@pytest.fixture
def home(tmp_path: Path, finished_home: Path) -> Path:
    """A home of its own, as if the search had run there."""
    folder = tmp_path / "first"
    shutil.copytree(finished_home, folder)
    assert follow_home(sqlite_url(folder / "mlflow.db")) > 0
    return folder


def places(home: Path) -> set[str]:
    with answering(sqlite_url(home / "mlflow.db")) as client:
        (experiment,) = [found for found in client.search_experiments() if found.name == "partA"]
        runs = [str(run.info.artifact_uri) for run in client.search_runs([experiment.experiment_id])]
        (version,) = client.search_model_versions("name = 'partA'")
        return {str(experiment.artifact_location), *runs, str(version.source)}


def test_a_home_that_was_renamed_loads_its_champion_and_keeps_new_files_at_the_new_place(home: Path) -> None:
    moved = home.with_name(ODD)
    home.rename(moved)
    assert load_champion(settings_of(moved), CHAMPION).classes == ("ants", "bees", "cats")
    assert all(place.startswith((moved / "artifacts").as_uri()) for place in places(moved))
    assert not home.exists()
    assert os.listdir(moved.parent) == [ODD], "MLflow's stray folder is still there"


def test_a_classifier_below_any_path_can_be_registered(home: Path, bundle: Path) -> None:
    odd = shutil.copytree(bundle, home.with_name(ODD) / bundle.name)
    with answering(sqlite_url(home / "mlflow.db")) as client:
        (experiment,) = [found for found in client.search_experiments() if found.name == "partA"]
        run = client.create_run(experiment.experiment_id)
    settings = settings_of(home)
    registered = register_champion(settings, "b", odd, run_id=run.info.run_id, metrics={}, description="")
    assert load_champion(settings, registered.uri).classes == ("ants", "bees", "cats")


def test_a_copied_home_no_longer_uses_the_files_of_the_original(home: Path) -> None:
    copy = home.with_name("copy")
    shutil.copytree(home, copy)
    shutil.rmtree(home / "artifacts")
    assert load_champion(settings_of(copy), CHAMPION).classes == ("ants", "bees", "cats")


def test_a_home_that_did_not_move_is_not_changed(home: Path) -> None:
    before = (home / "mlflow.db").read_bytes()
    assert follow_home(sqlite_url(home / "mlflow.db")) == 0
    assert (home / "mlflow.db").read_bytes() == before


def test_files_that_were_left_behind_are_found_at_their_old_place(home: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(home / "mlflow.db", bare)
    assert load_champion(settings_of(bare), CHAMPION).classes == ("ants", "bees", "cats")
    with answering(sqlite_url(bare / "mlflow.db")) as client:
        (experiment,) = [found for found in client.search_experiments() if found.name == "partA"]
        new = client.create_run(experiment.experiment_id)
    assert new.info.artifact_uri.startswith((bare / "artifacts").as_uri())


def test_an_experiment_of_others_keeps_its_place(home: Path, tmp_path: Path) -> None:
    theirs = (tmp_path / "theirs" / "artifacts").as_uri()
    with answering(sqlite_url(home / "mlflow.db")) as client:
        client.create_run(client.create_experiment("theirs", theirs))
    moved = home.with_name("moved")
    home.rename(moved)
    with answering(sqlite_url(moved / "mlflow.db")) as client:
        assert client.get_experiment_by_name("theirs").artifact_location == theirs
    assert load_champion(settings_of(moved), CHAMPION).classes == ("ants", "bees", "cats")


def test_a_home_that_is_reached_by_two_paths_is_left_alone(home: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    assert follow_home(f"sqlite:///{link}/mlflow.db") == 0
