"""The champion's answer on new pictures."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from data.errors import UserError
from models.bundle import load_bundle
from search import predict as module
from search.cli import main_guard
from search.predict import predict


def test_a_folder_stands_for_all_pictures_below_it(finished, pictures, bundle, monkeypatch):
    monkeypatch.setattr(module, "BATCH_IMAGES", 4)
    result = predict(finished, "partA", [pictures / "test"], top=3)
    classifier = load_bundle(bundle)
    assert len(result["predictions"]) == 21
    for answer in result["predictions"]:
        expected = classifier.predict_proba(np.asarray(Image.open(answer["path"]))[None])[0]
        likeliest = answer["classes"][0]
        assert likeliest["class"] == classifier.classes[expected.argmax()]
        assert likeliest["probability"] == pytest.approx(float(expected.max()), abs=1e-5)
        assert [entry["probability"] for entry in answer["classes"]] == sorted(
            (entry["probability"] for entry in answer["classes"]), reverse=True
        )


def test_a_picture_of_any_size_and_mode_is_answered(finished, tmp_path):
    Image.new("L", (40, 25), 90).save(tmp_path / "gray.jpg")
    (answer,) = predict(finished, "partA", [tmp_path / "gray.jpg"], top=1)["predictions"]
    assert len(answer["classes"]) == 1


def test_the_answers_are_written_as_a_table(finished, pictures, tmp_path, capsys):
    shutil.copy(pictures / "test" / "bees" / "0.png", tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(b"not a picture")
    table = tmp_path / "answers.csv"
    arguments = ["--home", str(finished.home), "--study", "partA", str(tmp_path), "--csv", str(table), "--json"]
    for _ in range(2):  # The second call replaces the table of the first.
        assert main_guard(lambda: module.main(arguments)) == 0
    likeliest = json.loads(capsys.readouterr().out.splitlines()[-1])["predictions"][1]["classes"]
    with table.open(newline="") as file:
        header, unreadable, answered = csv.reader(file)
    assert header == [
        "path", "answer", "probability", "most_likely", "class_2", "probability_2", "class_3", "probability_3", "error"
    ]  # fmt: skip
    assert unreadable[:-1] == [str(tmp_path / "a.png"), *[""] * 7]
    assert unreadable[-1]
    best, *others = likeliest
    expected = [best["class"], f"{best['probability']:.4f}", best["class"]]
    expected += [cell for entry in others for cell in (entry["class"], f"{entry['probability']:.4f}")]
    assert answered == [str(tmp_path / "b.png"), *expected, ""]


def test_an_answer_below_the_least_confidence_is_unsure(finished, pictures, tmp_path):
    sure = predict(finished, "partA", [pictures / "test"])["predictions"]
    confidences = sorted(answer["classes"][0]["probability"] for answer in sure)
    result = predict(finished, "partA", [pictures / "test"], min_confidence=confidences[5])
    assert sum(answer["answer"] == "unsure" for answer in result["predictions"]) == 5
    for answer, before in zip(result["predictions"], sure, strict=True):
        assert answer["classes"] == before["classes"]
        assert before["answer"] == before["classes"][0]["class"]
    module.write_table(result, tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["most_likely"] for line in lines] == [answer["classes"][0]["class"] for answer in sure]
    assert [line["answer"] for line in lines] == [answer["answer"] for answer in result["predictions"]]


def test_a_target_precision_takes_the_threshold_that_the_champion_has_for_it(finished, pictures):
    result = predict(finished, "partA", [pictures / "test"], precision=0.9)
    assert result["min_confidence"] == 0.36
    for answer in result["predictions"]:
        assert (answer["answer"] == "unsure") == (answer["classes"][0]["probability"] < 0.36)
    with pytest.raises(UserError, match=r"no confidence threshold for this precision; it has thresholds for 0.9;"):
        predict(finished, "partA", [pictures / "test"], precision=0.99)


def test_a_file_that_is_not_a_table_of_answers_is_kept(finished, pictures, tmp_path, capsys):
    mine = tmp_path / "mine.csv"
    mine.write_text("my,notes\n")
    arguments = ["--home", str(finished.home), "--study", "partA", str(pictures / "test"), "--csv", str(mine)]
    assert main_guard(lambda: module.main(arguments)) == 2
    assert "choose another --csv" in capsys.readouterr().err
    assert mine.read_text() == "my,notes\n"


def test_an_unreadable_picture_is_listed_with_the_reason(finished, pictures, tmp_path):
    shutil.copy(pictures / "test" / "bees" / "0.png", tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(b"not a picture")
    first, second = predict(finished, "partA", [tmp_path])["predictions"]
    assert first["error"]
    assert "classes" in second


def test_images_none_of_which_can_be_read_are_bad_input(finished, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"a.png: .*; none of the 2 images can be read"):
        predict(finished, "partA", [tmp_path])


def test_a_missing_path_is_named(finished, tmp_path):
    with pytest.raises(UserError, match=r"gone: no such file"):
        predict(finished, "partA", [tmp_path / "gone"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no pictures"):
        predict(finished, "partA", [tmp_path / "empty"])


def test_the_command_prints_a_table_or_json(finished, pictures, capsys):
    picture = str(pictures / "test" / "ants" / "0.png")
    arguments = ["--home", str(finished.home), "--study", "partA", picture]
    assert main_guard(lambda: module.main([*arguments, "--json"])) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["model_uri"] == "models:/partA/1"
    assert printed["predictions"][0]["path"] == picture
    assert main_guard(lambda: module.main(arguments)) == 0
    assert printed["predictions"][0]["classes"][0]["class"] in capsys.readouterr().out
    assert main_guard(lambda: module.main([*arguments, "--top", "0"])) == 2
