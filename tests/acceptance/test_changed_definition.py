"""A study goes on only as it was started: what changed is named, and so is the way to start another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.conftest import Search
from tests.acceptance.forks import run_forked, run_on
from tests.acceptance.service import STUDY_FILES, Finished, Service, wait_for

pytestmark = pytest.mark.slow

TINY = str(STUDY_FILES / "tiny.py")


def _assert_refused(ended: Finished, *says: str) -> None:
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    assert len([line for line in ended.err.splitlines() if line.startswith("error:")]) == 1
    for words in (*says, "--name"):
        assert words in ended.err


def _run_again(search: Search, folder: Path, *arguments: str) -> Finished:
    return run_forked("search.run", ["--home", str(search.service.home), "--study", TINY, *arguments], folder / "here")


def test_another_number_of_trials_is_refused(finished: Search, tmp_path: Path) -> None:
    before = finished.service.result_table()

    ended = _run_again(finished, tmp_path, "--trials-scale", "2")

    _assert_refused(ended, "trials was 8, is 16")
    assert finished.service.result_table() == before


def test_another_fixed_field_is_refused(finished: Search, tmp_path: Path) -> None:
    _assert_refused(_run_again(finished, tmp_path, "--set", "flip=0.5"), "flip was 0.0, is 0.5")


def test_the_same_command_of_a_finished_study_prints_the_same_result(finished: Search, tmp_path: Path) -> None:
    again = _run_again(finished, tmp_path, "--workers", "1", "--json").json()

    for key in ("stages", "champion", "data"):
        assert again[key] == finished.result[key]


def test_a_picture_added_to_the_data_folder_is_refused(service: Service, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (pictures / name).mkdir(parents=True)
        for index in range(12):
            pixels_HW = draw.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels_HW).save(pictures / name / f"{index}.png")
    command = ("search.run", "--study", TINY, "--data", str(pictures), "--workers", "0")
    running = service.start(*command)
    wait_for(lambda: service.states("tiny/1-random")["WAITING"] == 8, "the first stage's queue")
    running.interrupt()
    assert running.wait().code == 130

    Image.new("L", (8, 8)).save(pictures / "cat" / "new.png")

    _assert_refused(run_on(service, *command), "fingerprint was")
