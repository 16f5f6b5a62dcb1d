"""The mirror: MLflow holds what the database holds, once, whatever happens in between."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _get_managed_session_maker
from mlflow.utils.validation import MAX_ENTITIES_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH
from optuna.trial import TrialState
from sqlalchemy import create_engine, delete, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from data.errors import SieveError
from search import names
from search.store.tables import mirrored
from search.tracking import contents, tags
from search.tracking.client import connect
from search.tracking.follower import METRICS_PER_REQUEST, Follower
from search.tracking.mirror import Mirror


def runs(searched, kind: str = "trial") -> list[Run]:
    client = connect(searched.settings.tracking_url)
    experiment = client.get_experiment_by_name(searched.name)
    return list(
        client.search_runs([experiment.experiment_id], f"tags.`{tags.KIND}` = '{kind}'", order_by=["start_time"])
    )


@contextmanager
def make_session(handler: logging.Handler) -> Iterator[Session]:
    """A session of MLflow's on a database in memory, with a handler of its messages."""
    logger = logging.getLogger("mlflow.store.db.utils")
    logger.addHandler(handler)
    try:
        factory = sessionmaker(create_engine("sqlite://"))
        with _get_managed_session_maker(factory, "sqlite")(read_only=False) as session:
            yield session
    finally:
        logger.removeHandler(handler)


def a_complete_trial(searched) -> int:
    trial = searched.begin()
    for epoch in (1, 2, 3):
        searched.epoch(trial, epoch, 0.1 * epoch)
    searched.end(trial, TrialState.COMPLETE, 0.3)
    return trial._trial_id


def test_a_finished_trial_becomes_a_run_with_its_configuration_metrics_and_tags(searched):
    searched.pin()
    a_complete_trial(searched)
    assert Mirror(searched.settings, searched.storage, searched.name).sync() == 1

    (run,) = runs(searched)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "architecture-0"
    assert run.data.params == {"model": "flexcnn", "learning_rate": "0.001", "dropout": "0.1", "filters": "4,8"}
    assert run.data.metrics["best_val_accuracy"] == 0.3
    history = connect(searched.settings.tracking_url).get_metric_history(run.info.run_id, "val_accuracy")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, pytest.approx(0.3))]
    shown = run.data.tags
    assert shown[tags.OPTUNA_STUDY] == "partA/1-architecture"
    assert shown[tags.TRIAL] == "0"
    assert shown[tags.SEED] == "7"
    assert shown[tags.STATE] == "complete"
    assert shown[tags.DATA_FINGERPRINT] == "f" * 16
    assert shown[tags.SPLIT_HASH] == "5" * 16
    assert shown["sieve.version.python"].startswith("3.")
    assert run.info.artifact_uri.startswith(searched.settings.artifact_location)


def test_a_stage_is_the_parent_of_its_trials_and_ends_when_it_closes(searched):
    searched.pin()
    mirror = Mirror(searched.settings, searched.storage, searched.name)
    a_complete_trial(searched)
    mirror.sync()
    (stage,) = runs(searched, "stage")
    (trial,) = runs(searched)
    assert trial.data.tags[tags.PARENT_RUN] == stage.info.run_id
    assert stage.info.status == "RUNNING"
    searched.close()
    mirror.sync()
    (stage,) = runs(searched, "stage")
    assert stage.info.status == "FINISHED"


def test_each_way_a_trial_ends_has_its_own_state(searched):
    searched.pin()
    searched.end(searched.begin(), TrialState.PRUNED, **{names.REASON: "below the pruner's threshold"})
    searched.end(searched.begin(), TrialState.PRUNED, **{names.INFEASIBLE: True})
    searched.end(searched.begin(), TrialState.PRUNED, **{names.OUT_OF_TIME: True})
    searched.end(searched.begin(), TrialState.FAIL, **{names.REASON: "Traceback"})
    searched.end(searched.begin(), TrialState.FAIL, **{names.SKIPPED: True})
    Mirror(searched.settings, searched.storage, searched.name).sync()
    shown = [(run.info.status, run.data.tags[tags.STATE], run.data.tags.get(tags.REASON)) for run in runs(searched)]
    assert shown == [
        ("KILLED", "pruned", "below the pruner's threshold"),
        ("KILLED", "infeasible", None),
        ("KILLED", "out of time", None),
        ("FAILED", "fail", "Traceback"),
    ]


def test_a_running_trial_is_followed_epoch_by_epoch(searched):
    searched.pin()
    mirror = Mirror(searched.settings, searched.storage, searched.name)
    trial = searched.begin()
    searched.epoch(trial, 1, 0.1)
    assert mirror.sync() == 1
    searched.epoch(trial, 2, 0.2)
    assert mirror.sync() == 1
    (run,) = runs(searched)
    assert run.info.status == "RUNNING"
    history = connect(searched.settings.tracking_url).get_metric_history(run.info.run_id, "val_accuracy")
    assert [point.value for point in history] == [0.1, 0.2]
    assert trial.study.trials[0].user_attrs[tags.MLFLOW_RUN] == run.info.run_id


def test_a_pass_with_nothing_new_changes_nothing(searched):
    searched.pin()
    a_complete_trial(searched)
    mirror = Mirror(searched.settings, searched.storage, searched.name)
    assert [mirror.sync(), mirror.sync()] == [1, 0]
    assert Mirror(searched.settings, searched.storage, searched.name).sync() == 0
    assert len(runs(searched)) == len(runs(searched, "stage")) == 1


def test_metrics_that_say_nothing_are_not_sent() -> None:
    sent = contents.metrics({"epoch": 3, "micro_batches": 1, "val_loss": 0.5, "steps": "eager"}, step=3, time_s=1.0)
    assert [(metric.key, metric.value, metric.step) for metric in sent] == [("val_loss", 0.5, 3)]
    (metric,) = contents.metrics({"micro_batches": 4}, step=3, time_s=1.0)
    assert metric.value == 4


def test_a_finished_trial_takes_three_requests(searched, monkeypatch):
    requests: list[str] = []
    for method in ("create_run", "log_batch", "set_terminated"):
        note_calls(monkeypatch, MlflowClient, method, requests)
    searched.pin()
    mirror = Mirror(searched.settings, searched.storage, searched.name)
    a_complete_trial(searched)
    mirror.sync()
    requests.clear()  # The first pass created the run of the stage too.
    a_complete_trial(searched)
    mirror.sync()
    assert requests == ["create_run", "log_batch", "set_terminated"]


def note_calls(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, calls: list[str]) -> None:
    real: Callable[..., object] = getattr(owner, method)

    def noted(*arguments, **keywords):
        calls.append(method)
        return real(*arguments, **keywords)

    monkeypatch.setattr(owner, method, noted)


def crash_after(monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> None:
    """Let a step take effect and then fail, as a crash or a lost answer does."""
    real: Callable[..., object] = getattr(owner, method)

    def cut(*arguments, **keywords):
        real(*arguments, **keywords)
        raise ConnectionError("the answer was lost")

    monkeypatch.setattr(owner, method, cut)


@pytest.mark.parametrize("step", ["create_run", "log_batch", "set_terminated", "create_experiment"])
def test_a_crash_after_any_step_leaves_no_second_run_and_no_second_value(searched, monkeypatch, step):
    searched.pin()
    a_complete_trial(searched)
    client = connect(searched.settings.tracking_url)
    with monkeypatch.context() as patch:
        crash_after(patch, type(client), step)
        mirrors = [Mirror(searched.settings, searched.storage, searched.name) for _ in range(3)]
        assert mirrors[0].sync() == 0
        mirrors[1].sync()
        mirrors[2].sync()
    Mirror(searched.settings, searched.storage, searched.name).sync()
    (run,) = runs(searched)
    assert len(runs(searched, "stage")) == 1
    assert run.info.status == "FINISHED"
    assert run.data.params["model"] == "flexcnn"
    assert len(client.get_metric_history(run.info.run_id, "val_accuracy")) == 3


def test_a_run_that_was_created_but_not_recorded_is_found_again(searched):
    searched.pin()
    trial = searched.begin()
    Mirror(searched.settings, searched.storage, searched.name).sync()
    with searched.storage.engine.begin() as connection:
        connection.execute(delete(mirrored))
    searched.epoch(trial, 1, 0.5)
    Mirror(searched.settings, searched.storage, searched.name).sync()
    (run,) = runs(searched)
    assert run.data.metrics["val_accuracy"] == 0.5


def test_a_study_of_the_same_name_on_a_shared_server_keeps_its_own_runs(searched):
    searched.pin()
    client = connect(searched.settings.tracking_url)
    experiment = client.create_experiment(searched.name)
    other = {tags.KIND: "trial", tags.TRIAL_ID: "1", tags.STUDY_KEY: "another"}
    stranger = client.create_run(experiment, tags=other).info.run_id
    a_complete_trial(searched)
    Mirror(searched.settings, searched.storage, searched.name).sync()
    assert len(runs(searched)) == 2
    assert client.get_run(stranger).info.status == "RUNNING"


def test_the_last_request_of_a_trial_has_room_for_all_its_parameters_and_tags() -> None:
    assert METRICS_PER_REQUEST + 2 * MAX_PARAMS_TAGS_PER_BATCH <= MAX_ENTITIES_PER_BATCH


def test_more_metrics_than_fit_one_request_all_arrive(searched, monkeypatch):
    monkeypatch.setattr("search.tracking.follower.METRICS_PER_REQUEST", 2)
    searched.pin()
    a_complete_trial(searched)
    Mirror(searched.settings, searched.storage, searched.name).sync()
    (run,) = runs(searched)
    assert len(connect(searched.settings.tracking_url).get_metric_history(run.info.run_id, "train_loss")) == 3


def test_a_failing_server_is_reported_once_and_fails_no_search(searched):
    searched.pin()
    a_complete_trial(searched)
    shown: list[str] = []
    down = replace(searched.settings, tracking_url="http://127.0.0.1:9")
    mirror = Mirror(down, searched.storage, searched.name, show=shown.append)
    started = time.monotonic()
    assert [mirror.sync(), mirror.sync()] == [0, 0]
    assert time.monotonic() - started < 10
    assert mirror.failures == 2
    assert len(shown) == 1
    assert "http://127.0.0.1:9 is behind" in shown[0]
    assert "\n" not in shown[0]


def test_an_error_of_mlflow_s_database_is_not_shown_with_its_traceback(searched, monkeypatch):
    connect(searched.settings.tracking_url)
    shown: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", shown.append)
    with pytest.raises(MlflowException, match="disk is full"), make_session(handler) as session:
        session.execute(text("SELECT 1"))
        raise OperationalError("INSERT", {}, Exception("disk is full"))
    assert not shown


def test_a_password_in_the_tracking_url_is_never_shown(searched):
    shown: list[str] = []
    down = replace(searched.settings, tracking_url="http://ann:swordfish@127.0.0.1:9")
    Mirror(down, searched.storage, searched.name, show=shown.append).sync()
    assert "http://ann:***@127.0.0.1:9" in shown[0]
    assert "swordfish" not in shown[0]


def test_a_server_that_was_down_during_a_whole_study_gets_all_runs_afterwards(searched):
    searched.pin()
    down = Mirror(replace(searched.settings, tracking_url="http://127.0.0.1:9"), searched.storage, searched.name)
    down.start()
    ids = {str(a_complete_trial(searched)) for _ in range(3)}
    searched.close()
    assert not down.stop(timeout_s=20)

    assert Mirror(searched.settings, searched.storage, searched.name).sync() == 3
    client = connect(searched.settings.tracking_url)
    assert {run.data.tags[tags.TRIAL_ID] for run in runs(searched)} == ids
    for run in runs(searched):
        assert [point.step for point in client.get_metric_history(run.info.run_id, "val_accuracy")] == [1, 2, 3]


def test_the_mirror_sends_what_an_outage_delayed(searched, monkeypatch):
    searched.pin()
    shown: list[str] = []
    mirror = Mirror(searched.settings, searched.storage, searched.name, show=shown.append)
    trial = searched.begin()
    mirror.sync()
    with monkeypatch.context() as patch:
        patch.setattr(Follower, "follow", lambda self: 1 / 0)
        searched.epoch(trial, 1, 0.1)
        assert mirror.sync() == 0
    searched.epoch(trial, 2, 0.2)
    assert mirror.sync() == 1
    assert ["behind" in line for line in shown] == [True, False]
    (run,) = runs(searched)
    assert run.data.metrics["val_accuracy"] == 0.2


def test_the_thread_follows_and_its_last_pass_is_complete(searched, monkeypatch):
    monkeypatch.setattr("search.tracking.mirror.INTERVAL_S", 0.05)
    searched.pin()
    mirror = Mirror(searched.settings, searched.storage, searched.name)
    mirror.start()
    trial = searched.begin()
    searched.epoch(trial, 1, 0.1)
    deadline = time.monotonic() + 20
    while not marks(searched) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marks(searched)
    searched.end(trial, TrialState.COMPLETE, 0.1)
    assert mirror.stop(timeout_s=20)
    assert [mark.finished for mark in marks(searched)] == [True]


def marks(searched) -> list:
    with searched.storage.engine.begin() as connection:
        return list(connection.execute(select(mirrored)))


def test_the_run_of_a_trial_is_known_by_its_id(searched):
    searched.pin()
    mirror = Mirror(searched.settings, searched.storage, searched.name)
    trial_id = a_complete_trial(searched)
    assert mirror.run_of(trial_id) == runs(searched)[0].info.run_id
    with pytest.raises(SieveError, match="no run for trial 999"):
        mirror.run_of(999)


def test_importing_the_mirror_does_not_import_mlflow():
    check = "import sys, search.tracking.mirror; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[3]).returncode == 0
