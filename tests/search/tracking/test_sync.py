"""`search.sync`: what an outage left behind reaches MLflow, once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from optuna.trial import TrialState

import search.sync as module
from search.cli import main_guard
from search.store.locks import supervising
from search.store.look_result import LookResult
from search.store.records import update_study
from search.store.seal import close_look, open_look
from search.store.storage import open_storage
from search.sync import sync
from search.tracking.backlog import looks_behind, trials_behind
from search.tracking.client import connect

DOWN = "http://127.0.0.1:9"
RESULT = LookResult(accuracy=0.5, macro_f1=0.4, classes=("a", "b"), confusion=((1, 0), (1, 0)))


@pytest.fixture
def behind(searched):
    """A finished study of two trials whose MLflow was down all the time."""
    searched.pin(trials=2)
    for _ in range(2):
        trial = searched.begin()
        searched.epoch(trial, 1, 0.1)
        searched.end(trial, TrialState.COMPLETE, 0.1)
    searched.close()
    update_study(searched.storage, searched.name, state="done")
    return searched


def run(settings, *arguments: str) -> int:
    line = ["--home", str(settings.home), "--tracking", settings.tracking_url, *arguments]
    return main_guard(lambda: module.main(line))


def test_what_an_outage_left_behind_is_sent_and_counted(behind, capsys):
    assert trials_behind(behind.storage, "partA") == 2

    assert run(behind.settings, "--json") == 0
    (study,) = json.loads(capsys.readouterr().out)["studies"]
    assert (study["trials_sent"], study["trials_left"], study["failure"]) == (2, 0, None)
    assert trials_behind(behind.storage, "partA") == 0

    assert run(behind.settings) == 0
    assert capsys.readouterr().out == "partA: 0 trials and 0 looks sent, 0 trials left\n"


def test_a_server_that_is_still_down_is_exit_code_1_with_what_is_left(behind, capsys):
    assert run(replace(behind.settings, tracking_url=DOWN), "--json") == 1

    printed = capsys.readouterr()
    assert json.loads(printed.out)["studies"][0]["trials_left"] == 2
    assert printed.err.startswith(f"error: MLflow at {DOWN} is not up to date") and printed.err.count("\n") == 1


def test_an_epoch_that_mlflow_lacks_counts(behind):
    sync(behind.settings, behind.storage, "partA")
    behind.pin("later", position=1)
    trial = behind.begin("later")
    assert trials_behind(behind.storage, "partA") == 1
    sync(behind.settings, behind.storage, "partA")
    assert trials_behind(behind.storage, "partA") == 0
    behind.epoch(trial, 1, 0.2)
    assert trials_behind(behind.storage, "partA") == 1


def test_a_study_that_is_being_run_is_left_to_its_supervisor(behind):
    with supervising(behind.storage, "partA"):
        left_alone = sync(behind.settings, behind.storage, "partA")
    assert (left_alone.trials_sent, left_alone.trials_left) == (0, 2)
    assert "already being run" in str(left_alone)


def test_a_study_without_a_champion_gets_advice_on_how_to_continue(behind):
    update_study(behind.storage, "partA", state="promoting")
    assert "repeat its `sieve run` command" in str(sync(behind.settings, behind.storage, "partA"))


def test_a_look_that_mlflow_does_not_show_is_sent_once(finished):
    storage = open_storage(finished.storage_url, create=False)
    number = open_look(storage, "partA", by="me", model_uri="models:/partA/1", reason=None)
    assert sync(finished, storage, "partA").looks_sent == 0  # It is going on.
    close_look(storage, "partA", number, replace(RESULT, look=number))

    assert sync(finished, storage, "partA").looks_sent == 1
    assert sync(finished, storage, "partA").looks_sent == 0
    assert looks_behind(finished, storage, "partA") == []
    storage.close()
    assert connect(finished.tracking_url).get_model_version("partA", "1").tags["test_accuracy"] == "0.5"
