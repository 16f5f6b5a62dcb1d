"""The test set is looked at once, by the registered champion, which loads anywhere without pickle."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Search
from tests.acceptance.forks import run_forked
from tests.acceptance.service import Finished

pytestmark = pytest.mark.slow

LOAD_AND_PREDICT = """
import sys
import mlflow
import numpy as np

mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/tiny@champion")
for images in (1, 7):
    print(np.asarray(model.predict(np.zeros((images, 8, 8, 1), dtype=np.uint8))).shape)
"""


def _run(search: Search, folder: Path, module: str, *arguments: str) -> Finished:
    return run_forked(module, ["--home", str(search.service.home), *arguments], folder / "here")


def test_a_run_with_test_looks_once(finished: Search) -> None:
    test = finished.result["test"]

    assert test["look"] == 1
    assert test["images"] == 359
    low, high = test["interval"]
    assert 0 < low < test["accuracy"] < high < 1


def test_a_run_without_test_leaves_the_seal_closed(twins: tuple[Search, Search]) -> None:
    assert twins[1].result["test"] is None
    assert twins[1].service.query("SELECT * FROM sieve_look") == []


def test_a_second_look_is_refused_with_time_and_user_of_the_first(finished: Search, tmp_path: Path) -> None:
    before = len(finished.service.query("SELECT * FROM sieve_look"))

    ended = _run(finished, tmp_path, "search.evaluate", "--study", "tiny", "--json")

    assert ended.code == 1
    assert ended.out == ""
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]  # Slow machines show progress.
    assert f"by {getpass.getuser()}@" in line
    assert "look 1 on 20" in line
    assert "--again" in line
    assert len(finished.service.query("SELECT * FROM sieve_look")) == before


def test_a_second_look_with_a_reason_is_on_record(finished: Search, tmp_path: Path) -> None:
    second = _run(finished, tmp_path, "search.evaluate", "--study", "tiny", "--again", "a reason", "--json").json()

    assert second["look"] == 2
    assert second["accuracy"] == finished.result["test"]["accuracy"]
    looks = finished.service.query("SELECT number, reason FROM sieve_look ORDER BY number")
    assert [tuple(look) for look in looks] == [(1, "first look"), (2, "a reason")]


def test_the_champion_loads_in_a_fresh_process_with_pickle_refused(finished: Search) -> None:
    tracking = f"sqlite:///{finished.service.home / 'mlflow.db'}"
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("PYTHONPATH", None)

    loaded = subprocess.run(
        [sys.executable, "-c", LOAD_AND_PREDICT, tracking],
        cwd=finished.service.home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines() == ["(1, 10)", "(7, 10)"]


def test_run_prints_one_object_with_the_promised_keys(finished: Search) -> None:
    result = finished.result

    assert {"study", "stages", "champion", "test", "data", "wall_s"} <= result.keys()
    assert [stage["name"] for stage in result["stages"]] == ["random", "median", "confirm"]
    for stage in result["stages"]:
        assert {"name", "complete", "pruned", "failed", "infeasible", "best"} <= stage.keys()
    champion = result["champion"]
    assert {"trial", "config", "val_accuracy", "val_accuracy_seeds", "model_uri"} <= champion.keys()
    assert champion["val_accuracy"] == pytest.approx(sum(champion["val_accuracy_seeds"]) / 2)
    assert {"accuracy", "interval", "macro_f1", "images", "look"} <= result["test"].keys()
    assert {"fingerprint", "train", "val", "classes"} <= result["data"].keys()
    assert "Warning" not in finished.err


def test_evaluate_prints_what_run_prints_as_test(finished: Search) -> None:
    (row,) = finished.service.query("SELECT result FROM sieve_look WHERE number = 1")

    assert json.loads(row.result) == finished.result["test"]


def test_status_prints_one_object(finished: Search, tmp_path: Path) -> None:
    status = _run(finished, tmp_path, "search.status", "--study", "tiny", "--json").json()

    (study,) = status["studies"]
    assert study["state"] == "done"
    assert study["workers"] == []
    assert study["stages"] == finished.result["stages"]
    assert study["champion"] == finished.result["champion"]


def test_status_without_json_is_for_people(finished: Search, tmp_path: Path) -> None:
    ended = _run(finished, tmp_path, "search.status")

    assert ended.code == 0, ended.err
    assert "models:/tiny/1" in ended.out
