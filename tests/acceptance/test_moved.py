"""A home and its images that are moved in the middle of a search: the search goes on, and every command works."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.service import POLL_S, Service

STUDY_FILE = Path(__file__).parents[1] / "chaos" / "study_files" / "eleven.py"


def make_images(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for label, name in enumerate(("cats", "dogs & co")):
        (folder / name).mkdir(parents=True)
        for number in range(30):
            pixels = generator.integers(0, 128, (8, 8, 3), dtype=np.uint8)
            pixels[..., label] += 100
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def make_read_only(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)


@pytest.mark.slow
def test_a_search_goes_on_where_its_home_and_its_images_were_moved_to(tmp_path: Path) -> None:
    images, elsewhere = tmp_path / "photos", tmp_path / "read only" / "photos?"
    make_images(images)
    first = Service(tmp_path / "before")
    first.home.mkdir(parents=True)
    arguments = ("--study", str(STUDY_FILE), "--workers", "1", "--json")
    running = first.start("search.run", *arguments, "--data", str(images))
    while len([trial for trial in first.trials() if trial.state == "COMPLETE"]) < 2:
        assert running.process.poll() is None, running.err
        time.sleep(POLL_S)
    first.end()
    acknowledged = {trial.trial_id: trial.value for trial in first.trials() if trial.state == "COMPLETE"}

    (tmp_path / "after %20").mkdir()
    first.home.rename(tmp_path / "after %20" / "home")
    elsewhere.parent.mkdir()
    images.rename(elsewhere)
    make_read_only(elsewhere)
    moved = Service(tmp_path / "after %20")
    try:
        result = moved.run("search.run", *arguments, "--data", str(elsewhere)).json()
        after = {trial.trial_id: trial.value for trial in moved.trials()}
        assert len(after) == 11 and acknowledged.items() <= after.items()
        study = ("--study", "eleven")
        picture = str(next(elsewhere.glob("cats/*.png")))
        predicted = moved.run("search.predict", *study, "--json", picture).json()
        assert predicted["model_uri"] == result["champion"]["model_uri"]
        assert moved.run("search.evaluate", *study, "--json").json()["images"] == 12
        assert Path(moved.run("search.report", *study, "--json").json()["report"]).is_relative_to(moved.home)
        exported = moved.run("search.export", *study, "--int8", "--json").json()
        files = {Path(file).name for file in exported["files"]}
        assert files == {"classifier.json", "weights.safetensors", "model.onnx", "model-int8.onnx"}
        measured = {figure["file"]: figure["val_accuracy"] for figure in exported["figures"]}
        assert list(measured) == ["weights.safetensors", "model.onnx", "model-int8.onnx"]  # There is one finalist.
        assert None not in measured.values() and measured["model.onnx"] == measured["weights.safetensors"]
        assert moved.run("search.doctor").code == 0
        assert not (tmp_path / "before" / "home").exists()
    finally:
        moved.end()
