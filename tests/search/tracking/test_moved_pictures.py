"""Images that were moved after the search: their new place is given once, and their fingerprint identifies them."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import UserError
from search.check_data import __main__ as check_data
from search.evaluate import evaluate
from search.settings import Settings
from search.stage.describe import check_unchanged
from search.stage.moved_pictures import locate_images
from search.store.locks import supervising
from search.store.records import StudyRecord, read_study, update_study
from search.store.seal import looks
from search.store.storage import Storage, open_storage


@pytest.fixture
def moved(finished: Settings, pictures: Path, tmp_path: Path) -> Path:
    """The images at a new place, while the study still names an old one that is gone."""
    there = shutil.copytree(pictures, tmp_path / "new place")
    with_storage(finished, lambda storage, record: update_study(storage, "partA", data=elsewhere(record, tmp_path)))
    return there


def elsewhere(record: StudyRecord, tmp_path: Path) -> dict:
    stored = record.data.to_json()
    return {**stored, "spec": {**stored["spec"], "source": str(tmp_path / "gone")}}


def with_storage(settings: Settings, use):
    storage = open_storage(settings.storage_url, create=False)
    try:
        record = read_study(storage, "partA")
        assert record is not None
        return use(storage, record)
    finally:
        storage.close()


def source(settings: Settings) -> str:
    return with_storage(settings, lambda storage, record: record.data.spec.source)


def test_images_that_are_gone_cost_no_look_and_the_error_names_the_option(finished, moved):
    with pytest.raises(UserError, match=r"gone: the images of study partA were not found; .* --data FOLDER"):
        evaluate(finished, "partA")
    assert with_storage(finished, lambda storage, record: looks(storage, "partA")) == []


def test_the_new_place_is_tested_on_and_remembered(finished, moved, monkeypatch):
    monkeypatch.chdir(moved.parent)
    assert evaluate(finished, "partA", data="new place").images == 21
    assert source(finished) == str(moved)
    assert evaluate(finished, "partA", again="the place is known now").images == 21


def test_other_images_are_refused_before_the_look(finished, moved):
    victim = next((moved / "test").glob("*/*.png"))
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(UserError, match="not the images that partA was to be tested on"):
        evaluate(finished, "partA", data=str(moved))
    assert with_storage(finished, lambda storage, record: looks(storage, "partA")) == []
    assert source(finished).endswith("gone")


def test_a_copy_is_used_but_not_remembered_while_the_first_place_exists(finished, pictures, tmp_path):
    there = shutil.copytree(pictures, tmp_path / "copy")
    assert evaluate(finished, "partA", data=str(there)).images == 21
    assert source(finished) == str(pictures)


def test_a_worker_elsewhere_does_not_change_the_place_of_a_running_search(finished, moved):
    def use(storage: Storage, record: StudyRecord) -> StudyRecord:
        with supervising(storage, "partA"):
            return locate_images(storage, finished, record, str(moved))

    assert with_storage(finished, use).data.spec.source == str(moved)
    assert source(finished).endswith("gone")


def test_read_only_images_on_a_new_place_are_enough(finished, moved):
    for folder, _, files in os.walk(moved, topdown=False):
        for name in files:
            Path(folder, name).chmod(0o444)
        Path(folder).chmod(0o555)
    assert evaluate(finished, "partA", data=str(moved)).images == 21


def test_a_check_of_a_study_s_images_finds_them_where_they_were_moved_to(finished, moved, capsys):
    command = ["--study", "partA", "--home", str(finished.home), "--json"]
    with pytest.raises(UserError, match="give their new folder with --data FOLDER"):
        check_data.main(command)
    check_data.main([*command, "--data", str(moved)])
    found = json.loads(capsys.readouterr().out)
    assert found["data"]["source"] == source(finished) == str(moved)
    assert Path(found["folder"], "outliers.csv").is_file()
    victim = next((moved / "train").glob("*/*.png"))
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(UserError, match="not the images that partA was searched on"):
        check_data.main([*command, "--data", str(moved)])


def test_a_search_goes_on_with_images_that_were_moved_but_not_with_others(finished, moved):
    def use(storage: Storage, record: StudyRecord) -> None:
        data = replace(record.data, spec=replace(record.data.spec, source=str(moved)))
        check_unchanged(record, record.definition, data)
        with pytest.raises(UserError, match=r"data\.fingerprint was .*data\.spec\.source was"):
            check_unchanged(record, record.definition, replace(data, fingerprint="0" * 64))

    with_storage(finished, use)
