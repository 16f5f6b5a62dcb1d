"""The status of studies, in this process."""

from __future__ import annotations

import json
import time

import pytest

from search.records import WorkerRecord, create_study, forget_worker, show_worker, update_study
from search.status import main
from search.storage import Storage
from tests.search.conftest import open_stage

DEFINITION = {"stages": {"1-one": {}, "2-two": {}}}


@pytest.fixture
def arguments(sqlite: Storage) -> list[str]:
    return ["--storage", sqlite.url]


def begin(storage: Storage) -> None:
    create_study(storage, "tiny", definition=DEFINITION, data={})
    open_stage(storage, trials=5)


def test_a_study_is_shown_with_its_stages_and_its_champion(
    sqlite: Storage, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    begin(sqlite)
    update_study(sqlite, "tiny", state="done", champion={"model_uri": "models:/tiny/1", "val_accuracy": 0.9})
    main(arguments)
    out = capsys.readouterr().out
    for said in ("tiny", "done", "0/5", "two", "champion models:/tiny/1 0.9000"):
        assert said in out


def test_status_as_json_is_one_object(
    sqlite: Storage, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    begin(sqlite)
    main([*arguments, "--json", "--study", "tiny"])
    (study,) = json.loads(capsys.readouterr().out)["studies"]
    assert (study["study"], study["state"], study["champion"], study["looks"]) == ("tiny", "running", None, 0)
    assert study["stages"][0]["waiting"] == 5


def test_a_database_without_a_study_says_so(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments)
    assert "no studies yet" in capsys.readouterr().out


def test_only_workers_that_were_heard_of_lately_are_shown(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    begin(storage)
    for name, seen_at in (("lively", time.time()), ("silent", time.time() - 3600), ("ended", time.time())):
        show_worker(storage, WorkerRecord(name=name, study="tiny", device="cpu", doing="waiting", seen_at=seen_at))
    forget_worker(storage, "ended")
    main(["--storage", storage.url, "--json"])
    (study,) = json.loads(capsys.readouterr().out)["studies"]
    assert [worker["name"] for worker in study["workers"]] == ["lively"]
