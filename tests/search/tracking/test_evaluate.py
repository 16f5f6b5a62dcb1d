"""Opening the seal: on record before the look, once, with the model that users load."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score

import search.evaluate as module
from data.errors import SealBroken, UserError
from models.bundle import load_bundle
from search import names
from search.cli import main_guard
from search.evaluate import evaluate
from search.store.records import read_study, update_study
from search.store.seal import looks
from search.store.storage import open_storage
from search.tracking.client import connect


def taken(settings) -> list:
    storage = open_storage(settings.storage_url, create=False)
    try:
        return looks(storage, "partA")
    finally:
        storage.close()


def change_study(settings, **values) -> None:
    storage = open_storage(settings.storage_url, create=False)
    update_study(storage, "partA", **values)
    storage.close()


def test_the_scores_are_those_of_the_classifier_on_the_test_folder(finished, pictures, bundle):
    result = evaluate(finished, "partA")

    classifier = load_bundle(bundle)
    files = sorted((pictures / "test").glob("*/*.png"))
    truth = np.array([classifier.classes.index(file.parent.name) for file in files])
    pixels_NHWC = np.stack([np.asarray(Image.open(file)) for file in files])
    predictions = classifier.predict_proba(pixels_NHWC, precision="auto").argmax(axis=1)
    assert result.accuracy == (truth == predictions).mean()
    assert result.macro_f1 == pytest.approx(f1_score(truth, predictions, average="macro", zero_division=0))
    assert result.images == 21
    assert result.look == 1
    assert result.classes == ("ants", "bees", "cats")
    assert result.model_uri == "models:/partA/1"
    low, high = result.interval
    assert 0 <= low < result.accuracy < high <= 1
    assert np.array(result.confusion).sum(axis=1).tolist() == [7, 7, 7]
    assert [row.support for row in result.per_class] == [7, 7, 7]
    assert [look.result for look in taken(finished)] == [result]


def test_the_look_is_on_record_before_a_test_image_is_opened(finished, monkeypatch):
    def crash(*arguments, **keywords):
        (look,) = taken(finished)
        assert (look.number, look.result, look.model_uri) == (1, None, "models:/partA/1")
        raise MemoryError

    monkeypatch.setattr(module, "open_test_images", crash)
    with pytest.raises(MemoryError):
        evaluate(finished, "partA")
    with pytest.raises(SealBroken, match="crashed"):
        evaluate(finished, "partA")


def test_a_second_look_is_refused_with_the_result_of_the_first(finished, monkeypatch):
    first = evaluate(finished, "partA")
    monkeypatch.setattr(module, "open_test_images", lambda *a, **k: pytest.fail("looked"))
    with pytest.raises(SealBroken) as refused:
        evaluate(finished, "partA")
    message = str(refused.value)
    assert f"accuracy {first.accuracy:.4f}" in message
    assert "@" in message
    assert "--again REASON" in message
    assert "\n" not in message


def test_a_reason_opens_the_seal_again_and_stays_on_record(finished):
    evaluate(finished, "partA")
    assert evaluate(finished, "partA", again="a label was wrong").look == 2
    assert [(look.number, look.reason) for look in taken(finished)] == [(1, "first look"), (2, "a label was wrong")]


def test_of_two_racing_evaluators_one_looks(finished):
    def attempt(_: int) -> str:
        try:
            return f"look {evaluate(finished, 'partA').look}"
        except SealBroken:
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, range(2))) == ["look 1", "refused"]
    assert len(taken(finished)) == 1


def test_the_result_is_shown_on_the_model_version_and_its_run(finished):
    result = evaluate(finished, "partA")
    client = connect(finished.tracking_url)
    version = client.get_model_version("partA", "1")
    assert version.tags["test_accuracy"] == str(result.accuracy)
    assert version.tags["test_looks"] == "1"
    assert client.get_run(version.run_id).data.metrics["test_macro_f1"] == result.macro_f1
    shown = {Path(file.path).name for file in client.list_artifacts(version.run_id, "test/look-1")}
    assert shown == {"per_class.json", "confusion.json", "look-1.csv"}


def test_a_look_writes_its_answers_as_a_table(finished, pictures):
    result = evaluate(finished, "partA")
    with names.answers_file(finished.home, "partA", 1).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [pictures / line["path"] for line in lines] == sorted((pictures / "test").glob("*/*.png"))
    assert all(line["truth"] == Path(line["path"]).parent.name for line in lines)
    wrong = [line for line in lines if line["answer"] != line["truth"]]
    assert len(wrong) == round(21 * (1 - result.accuracy)) > 1
    by_rank = sorted(wrong, key=lambda line: int(line["mistake_rank"]))
    assert [line["mistake_rank"] for line in by_rank] == [str(rank + 1) for rank in range(len(wrong))]
    confidences = [float(line["probability"]) for line in by_rank]
    assert confidences == sorted(confidences, reverse=True)
    assert all(line["mistake_rank"] == "" for line in lines if line["answer"] == line["truth"])


def test_images_that_changed_since_the_search_do_not_cost_the_look(finished, pictures, tmp_path):
    storage = open_storage(finished.storage_url, create=False)
    data = read_study(storage, "partA").data.to_json()
    storage.close()
    change_study(finished, data={**data, "fingerprint": "0" * 64})
    with pytest.raises(UserError, match="not the images that partA was searched on"):
        evaluate(finished, "partA")
    change_study(finished, data={**data, "spec": {**data["spec"], "source": str(tmp_path / "gone")}})
    with pytest.raises(UserError, match="gone"):
        evaluate(finished, "partA")
    assert taken(finished) == []


def test_a_study_without_a_champion_is_a_bad_request_and_no_look(finished):
    change_study(finished, champion=None)
    with pytest.raises(UserError, match="partA has no champion yet"):
        evaluate(finished, "partA")
    assert taken(finished) == []


def test_an_unknown_study_is_named_with_those_that_exist(finished):
    with pytest.raises(UserError, match=r"no study 'partB'.*did you mean 'partA'\? existing studies: partA"):
        evaluate(finished, "partB")


def test_a_champion_that_the_registry_does_not_hold_is_no_look(finished):
    change_study(finished, champion={"model_uri": "models:/partA/7"})
    with pytest.raises(UserError, match="does not have models:/partA/7"):
        evaluate(finished, "partA")
    assert taken(finished) == []


def test_a_tracking_server_that_is_down_is_no_look(finished):
    with pytest.raises(Exception, match=r"MLflow at http://127.0.0.1:9"):
        evaluate(replace(finished, tracking_url="http://127.0.0.1:9"), "partA")
    assert taken(finished) == []


def run_command(settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "search.evaluate", "--home", str(settings.home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])


@pytest.mark.slow
def test_the_command_prints_json_and_refuses_with_exit_code_1(finished):
    done = run_command(finished, "--study", "partA", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == taken(finished)[0].result.to_json()

    refused = run_command(finished, "--study", "partA", "--json")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1


def test_an_unknown_study_ends_the_command_with_2_and_one_line(finished, capsys):
    assert main_guard(lambda: module.main(["--home", str(finished.home), "--study", "partB"])) == 2
    assert capsys.readouterr().err.startswith("error: no study 'partB'")


def test_the_command_shows_a_table_for_people(finished, capsys, monkeypatch):
    monkeypatch.setattr(module, "try_report", lambda *a, **k: None)
    arguments = ["--home", str(finished.home), "--study", "partA", "--again", "to read the table"]
    assert main_guard(lambda: module.main(arguments)) == 0
    printed = capsys.readouterr().out
    assert "most often mistaken for" in printed
    assert "macro-F1" in printed and "look 1" in printed
    assert taken(finished)[0].reason == "to read the table"
