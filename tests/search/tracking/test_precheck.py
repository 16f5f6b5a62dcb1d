"""What would cost a whole search at its end is refused at its start, and a server that is down is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from data.errors import UserError
from search import names
from search.settings import Settings
from search.store.storage import open_storage
from search.tracking.client import connect
from search.tracking.mirror import Mirror
from search.tracking.precheck import check_tracking
from tests.search.tracking.conftest import copy_database, make_settings


@pytest.fixture
def settings(tmp_path: Path, empty_mlflow: Path) -> Settings:
    copy_database(empty_mlflow, tmp_path / names.TRACKING_FILE)
    return make_settings(tmp_path)


def test_a_new_database_and_one_with_other_experiments_are_fine(settings, tmp_path):
    check_tracking(settings, "partA")
    check_tracking(make_settings(tmp_path / "not there yet"), "partA")
    assert not (tmp_path / "not there yet").exists()
    client = connect(settings.tracking_url)
    client.create_experiment("partA")
    client.delete_experiment(client.create_experiment("another"))
    check_tracking(settings, "partA")


def test_a_deleted_experiment_is_refused_with_the_command_that_restores_it(settings):
    client = connect(settings.tracking_url)
    experiment = client.create_experiment("part A")
    client.delete_experiment(experiment)
    with pytest.raises(UserError, match=rf"deleted experiment 'part A'.*restore -x {experiment}`.*--name NEW"):
        check_tracking(settings, "part A")
    client.restore_experiment(experiment)
    check_tracking(settings, "part A")


def test_an_experiment_that_is_deleted_during_the_search_is_named_and_costs_nothing(searched):
    searched.pin()
    trial = searched.begin()
    searched.epoch(trial, 1, 0.1)
    Mirror(searched.settings, searched.storage, searched.name).sync()
    client = connect(searched.settings.tracking_url)
    experiment = client.get_experiment_by_name(searched.name).experiment_id
    client.delete_experiment(experiment)
    searched.epoch(trial, 2, 0.2)
    mirror = Mirror(searched.settings, searched.storage, searched.name)
    assert mirror.sync() == 0
    assert mirror.failure is not None and "has a deleted experiment 'partA'" in mirror.failure
    client.restore_experiment(experiment)
    assert mirror.sync() == 1


def test_a_deleted_experiment_on_postgres_is_refused_too(settings, postgres_url):
    on_postgres = replace(settings, tracking_url=postgres_url)
    check_tracking(on_postgres, "partA")
    client = connect(postgres_url)
    check_tracking(on_postgres, "partA")
    client.delete_experiment(client.create_experiment("partA"))
    with pytest.raises(UserError, match="deleted experiment 'partA'"):
        check_tracking(on_postgres, "partA")


@pytest.mark.parametrize("owner", [None, "partA of somebody else"])
def test_a_champion_of_others_is_not_taken_over(settings, owner, tmp_path):
    client = connect(settings.tracking_url)
    client.create_registered_model("partA")
    check_tracking(settings, "partA")
    tagged = {} if owner is None else {"sieve.study": owner}
    client.create_model_version("partA", tmp_path.as_uri(), tags=tagged)
    check_tracking(settings, "partA")
    client.set_registered_model_alias("partA", "champion", "1")
    with pytest.raises(UserError, match="model 'partA' with a champion"):
        check_tracking(settings, "partA")


def test_the_studys_own_champion_is_no_reason_to_refuse(finished):
    check_tracking(finished, "partA")


def test_a_database_of_another_program_is_refused(settings, tmp_path):
    open_storage(settings.storage_url, create=True).close()
    with pytest.raises(UserError, match="tables of another program"):
        check_tracking(replace(settings, tracking_url=settings.storage_url), "partA")


def test_a_file_that_is_no_database_and_a_folder_are_refused(settings, tmp_path):
    (tmp_path / "notes.db").write_text("not a database at all, but longer than a header of one hundred bytes" * 3)
    for name, said in (("notes.db", "not a database"), (".", "is a folder"), ("notes.db/mlflow.db", "is a file")):
        place = replace(settings, tracking_url=f"sqlite:///{tmp_path / name}")
        with pytest.raises(UserError, match=said):
            check_tracking(place, "partA")


ANSWERS = {
    "experiments/get-by-name": {"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}},
    "registered-models/alias": {"model_version": {"tags": [{"key": "sieve.study", "value": "another"}]}},
}


@pytest.fixture
def server(request) -> Iterator[str]:
    """A tracking server that gives one answer of `ANSWERS`, and 404 for everything else."""
    answers = {request.param: ANSWERS.get(request.param)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0].removeprefix("/api/2.0/mlflow/"))
            self.send_response(200 if answer else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answer or {"error_code": "RESOURCE_DOES_NOT_EXIST"}).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("server", ANSWERS, indirect=True)
def test_a_server_that_would_refuse_at_the_end_is_refused_at_the_start(settings, server):
    with pytest.raises(UserError, match=r"deleted experiment|a champion of the study 'another'"):
        check_tracking(replace(settings, tracking_url=server), "partA")


@pytest.mark.parametrize("server", ["none of them"], indirect=True)
def test_a_server_without_the_names_is_fine(settings, server):
    check_tracking(replace(settings, tracking_url=server), "partA")


def test_a_server_that_is_down_is_fine(settings):
    check_tracking(replace(settings, tracking_url="http://127.0.0.1:9"), "partA")
