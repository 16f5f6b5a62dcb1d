"""The champion's pictures: which images they show, before and after the look, and where they are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data.sealed
from data.errors import UserError
from models.bundle import load_bundle
from search import evaluate as evaluation
from search.cli import main_guard
from search.evaluate import evaluate
from search.pictures import __main__ as command
from search.pictures import draw_all
from search.pictures.draw_all import draw_pictures
from search.pictures.predictions import load_predictions, look_file
from search.store.records import read_study, update_study
from search.store.storage import open_storage
from search.tracking.client import connect

ALWAYS = (
    "predictions",
    "confusion",
    "class_scores",
    "calibration",
    "first_layer",
    "feature_maps",
    "guided_backprop",
    "grad_cam",
)


def captions(settings) -> dict[str, str]:
    index = json.loads((settings.home / "studies" / "partA" / "pictures" / "index.json").read_text())
    return {entry["file"]: entry["caption"] for entry in index}


def artifacts(settings, folder: str) -> set[str]:
    client = connect(settings.tracking_url)
    run_id = client.get_model_version("partA", "1").run_id
    return {Path(file.path).name for file in client.list_artifacts(run_id, f"pictures/{folder}")}


def change_study(settings, **values) -> None:
    storage = open_storage(settings.storage_url, create=False)
    update_study(storage, "partA", **values)
    storage.close()


@pytest.fixture
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw only the first pictures, the confusion matrix among them: drawing all takes seconds."""
    every = draw_all.sheets
    monkeypatch.setattr(draw_all, "sheets", lambda *args: islice(every(*args), 3))


def test_before_the_look_validation_images_are_shown(finished, monkeypatch):
    monkeypatch.setattr(data.sealed, "open_partition", lambda *a, **k: pytest.fail("opened the test set"))
    paths = draw_pictures(finished, "partA")

    assert {path.stem for path in paths} >= set(ALWAYS)
    for path in paths:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 200
    assert all("validation images" in caption for caption in captions(finished).values())
    assert artifacts(finished, "validation") == {path.name for path in paths}
    tag = connect(finished.tracking_url).get_model_version("partA", "1").tags["pictures"]
    assert tag.startswith("runs:/")
    assert tag.endswith("/pictures/validation")


def test_after_the_look_its_test_images_are_shown_and_the_test_set_stays_closed(finished, few_pictures, monkeypatch):
    draw_pictures(finished, "partA")
    evaluate(finished, "partA")
    monkeypatch.setattr(data.sealed, "open_partition", lambda *a, **k: pytest.fail("opened the test set"))

    paths = draw_pictures(finished, "partA")

    assert all("test images (look 1)" in caption for caption in captions(finished).values())
    assert "21 test images" in captions(finished)["confusion.png"]
    assert artifacts(finished, "look-1") == {path.name for path in paths}


def test_a_look_keeps_its_predictions_and_the_images_to_show(finished, pictures, bundle):
    result = evaluate(finished, "partA")

    kept = load_predictions(look_file(finished.home, "partA", 1))

    files = sorted((pictures / "test").glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    expected = load_bundle(bundle).predict_proba(pixels)
    np.testing.assert_allclose(kept.probabilities_NC, expected, atol=1e-5)
    assert kept.is_right_N.mean() == result.accuracy
    assert np.array_equal(kept.images(kept.grid), pixels[kept.grid])


def test_the_pictures_show_the_last_look(finished, few_pictures):
    evaluate(finished, "partA")
    evaluate(finished, "partA", again="a label was wrong")
    draw_pictures(finished, "partA")
    assert all("test images (look 2)" in caption for caption in captions(finished).values())


def test_a_look_at_another_champion_is_not_shown(finished, few_pictures):
    evaluate(finished, "partA")
    storage = open_storage(finished.storage_url, create=False)
    champion = read_study(storage, "partA").champion
    storage.close()
    change_study(finished, champion={**champion.to_json(), "model_uri": "models:/partA@champion"})
    draw_pictures(finished, "partA")
    assert all("validation images" in caption for caption in captions(finished).values())


def test_a_look_whose_predictions_cannot_be_kept_still_counts(finished, monkeypatch, capsys):
    (finished.home / "studies").write_text("a file where the folder should be")
    result = evaluate(finished, "partA")
    assert result.images == 21
    assert "the result is stored" in capsys.readouterr().err
    monkeypatch.setattr(evaluation, "open_test_images", lambda *a, **k: pytest.fail("looked again"))
    with pytest.raises(UserError, match="cannot write here"):
        draw_pictures(finished, "partA")


def test_drawing_again_replaces_what_was_drawn_before(finished, few_pictures):
    folder = finished.home / "elsewhere"
    draw_pictures(finished, "partA", folder)
    index = folder / "index.json"
    index.write_text(json.dumps([*json.loads(index.read_text()), {"file": "stale.png"}]))
    for name in ("stale.png", "mine.png"):
        (folder / name).write_bytes(b"")

    paths = draw_pictures(finished, "partA", folder)

    assert {path.name for path in folder.iterdir()} == {path.name for path in paths} | {
        "mine.png",
        "index.json",
        "confusion.csv",
    }


def test_changed_images_are_a_bad_request_and_nothing_is_written(finished):
    storage = open_storage(finished.storage_url, create=False)
    searched = read_study(storage, "partA").data
    storage.close()
    change_study(finished, data={**searched.to_json(), "fingerprint": "0" * 64})
    with pytest.raises(UserError, match="not the images of the search partA"):
        draw_pictures(finished, "partA")
    assert not (finished.home / "studies").exists()


def test_a_study_without_a_champion_is_a_bad_request(finished):
    change_study(finished, champion=None)
    with pytest.raises(UserError, match="no champion yet"):
        draw_pictures(finished, "partA")


def test_the_command_prints_one_path_a_line(finished, few_pictures, capsys):
    arguments = ["--home", str(finished.home), "--study", "partA"]
    assert main_guard(lambda: command.main(arguments)) == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.name for path in printed} == captions(finished).keys()
    assert all(path.is_file() for path in printed)


@pytest.mark.slow
def test_the_command_prints_json(finished):
    arguments = ["--home", str(finished.home), "--study", "partA", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "search.pictures", *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["study"] == "partA"
    assert {Path(path).stem for path in printed["pictures"]} >= set(ALWAYS)
    assert "error" not in done.stderr  # On a slow machine it shows progress there.
