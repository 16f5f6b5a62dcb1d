from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from benchmarks.gpu.__main__ import add_shares, main, merge
from benchmarks.gpu.memory import bytes_per_image
from benchmarks.gpu.parts import run_part
from benchmarks.gpu.steps import covered
from benchmarks.page_tables import with_tables
from data.errors import SieveError, UserError
from models.config import FlexCNNConfig

SETTING = {"device": "cpu", "smoke": True, "data": None, "large": None}


def test_pieces_of_figures_are_merged_level_by_level() -> None:
    result: dict[str, Any] = {}
    merge(result, {"gangs": {"1": 10.0}, "images_per_s": {"a-gang": 10.0}})
    merge(result, {"gangs": {"2": 15.0}, "images_per_s": {"a-gang": 15.0}})
    assert result == {"gangs": {"1": 10.0, "2": 15.0}, "images_per_s": {"a-gang": 15.0}}


def test_a_share_of_the_limit_needs_both_figures() -> None:
    result: dict[str, Any] = {"memory_limit": {"a": {"images_per_s": 80.0}}}
    add_shares(result)
    assert "share" not in result["memory_limit"]["a"]
    add_shares(result | {"images_per_s": {"a": 20.0}})
    assert result["memory_limit"]["a"]["share"] == 0.25


def test_kernels_that_run_at_the_same_time_count_once() -> None:
    assert covered([(5.0, 9.0), (0.0, 2.0), (1.0, 4.0), (6.0, 7.0)]) == 8.0
    assert covered([]) == 0.0


def test_the_bytes_of_a_step_are_those_of_its_tensors() -> None:
    config = FlexCNNConfig(image_size=4, conv_layers=2, filters=1, dense_width=0, batch_size=8)
    # bfloat16 values: 3x4x4 pixels; y1 4x4, p1 2x2, y2 2x2, p2 1x1. Passes as the module's docstring has them.
    x, y1, p1, y2, p2 = 2 * 48, 2 * 16, 2 * 4, 2 * 4, 2 * 1
    picture = 48 + x
    first = (x + y1) + y1 + (y1 + p1) + (y1 + p1) + (y1 + p1 + y1) + (x + y1)
    second = (p1 + y2) + y2 + (y2 + p2) + (y2 + p2) + (y2 + p2 + y2) + (p1 + y2) + (y2 + p1)
    parameters = (27 + 2) + (9 + 2) + (10 + 10)
    assert bytes_per_image(config) == picture + first + second + 8 * 4 * parameters / 8


def test_a_part_that_fails_reports_why_and_a_part_that_hangs_is_ended() -> None:
    *_, failed = run_part("memory", SETTING | {"device": "nonsense"}, limit_s=60)
    assert failed["parts"]["memory"]["error"].startswith("RuntimeError: ")
    *_, late = run_part("memory", SETTING, limit_s=0.1)
    assert late["parts"]["memory"]["error"] == "took longer than 0.1 s"


def test_figures_are_kept_as_they_come_and_those_of_other_parts_stay(tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_text(
        json.dumps({"machine": {"gpus": []}, "gangs": {"1": 10.0}, "images_per_s": {"flexcnn-224": 10.0}})
    )
    main(["--smoke", "--parts", "memory", "--save", str(tmp_path)])
    stored = json.loads((tmp_path / "gpu.json").read_text())
    limit = stored["memory_limit"]["flexcnn-224"]
    assert limit["images_per_s"] == limit["bandwidth_bytes_per_s"] / limit["bytes_per_image"] > 0
    assert limit["share"] == 10.0 / limit["images_per_s"]
    assert stored["parts"]["memory"]["error"] is None and stored["gangs"] == {"1": 10.0}
    assert stored["versions"]["torch"] == torch.__version__.partition("+")[0] and stored["measured_on"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_only_a_dry_run() -> None:
    with pytest.raises(UserError, match="torch finds no GPU; use --smoke for a dry run"):
        main([])


def test_a_dry_run_is_not_kept_among_the_results() -> None:
    with pytest.raises(UserError, match="--smoke --save: the figures of a dry run are not kept"):
        main(["--smoke", "--save"])


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(UserError, match="stepps: not a part; choose from steps, gang"):
        main(["--smoke", "--parts", "stepps"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and the parts then need pictures")
def test_a_part_without_its_pictures_names_the_option_that_it_needs() -> None:
    *_, failed = run_part("time-to-accuracy", SETTING | {"smoke": False}, limit_s=60)
    assert failed["parts"]["time-to-accuracy"]["error"].startswith("UserError: this part needs --data FOLDER")


def test_the_page_shows_a_row_for_each_network_and_names_what_failed() -> None:
    figures = {
        "images_per_s": 190_000.0,
        "images_per_s_with_validation": 170_000.0,
        "ran": "eager",
        "busy": 0.95,
        "kernels_per_step": 350,
    }
    result = {
        "measured_on": "2026-01-02",
        "machine": {"gpus": ["a card"], "versions": {"torch": "2.11"}},
        "networks": {"a": {"title": "a network", "batches_alone": 900_000.0, "ways": {"eager": figures}}},
        "ratio": {"W3": {"A": 8.5, "A+": 3.25}},
        "gate": {"W3": True},
        "workloads": {"W3": {"title": "a title", "val_accuracy_difference": {"ours": {"pairs": 1, "mean": 0.011}}}},
        "parts": {"steps": {"seconds": 60, "error": None}, "fused": {"seconds": 2, "error": "ImportError: none"}},
    }
    page = with_tables("<!-- gpu -->old<!-- /gpu -->", {"gpu": result})
    assert "| a network | eager | 190,000 | 170,000 | 95% | 350 | 900,000 |" in page
    assert "| W3: a title | 8.5 | 3.2 | passed | +1.1 (1) |" in page
    assert "Not measured: fused: ImportError: none." in page and "Measured on 2026-01-02: a card" in page


WORKLOAD_PARTS = ["W3", "W4", "W5"]
OTHER_PARTS = ["steps", "gang", "memory", "time-to-accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [OTHER_PARTS, WORKLOAD_PARTS], ids=["ours alone", "against the others"])
def test_a_dry_run_measures_every_part(parts: list[str], tmp_path: Path) -> None:
    main(["--smoke", "--parts", ",".join(parts), "--save", str(tmp_path)])
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert {name: part["error"] for name, part in result["parts"].items()} == dict.fromkeys(parts)
    page = with_tables("<!-- gpu --><!-- /gpu -->", {"gpu": result})
    if parts == WORKLOAD_PARTS:
        assert result["ratio"].keys() == result["gate"].keys() == {"W3", "W4", "W5"}
        assert all(ratio["A"] > 0 for ratio in result["ratio"].values()) and "| W4: " in page
    else:
        assert {"flexcnn-32", "flexcnn-32-gang", "resnet18-32", "flexcnn-224"} <= result["images_per_s"].keys()
        assert result["time_to_accuracy"]["seconds"] == {"0.94": None, "0.95": None}
        assert "| five convs of 32, 224 px, batch 128 | captured: ran eager | " in page


@pytest.mark.slow
def test_a_command_that_is_ended_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--smoke", "--parts", "steps", "--save", str(tmp_path)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "gpu.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    (part,) = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert not part.is_running() and "networks" in json.loads((tmp_path / "gpu.json").read_text())


def test_a_command_with_a_failed_part_fails_after_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {"memory": None, "fused": "ImportError: none"}

    def pretend(name: str, setting: dict[str, Any], limit_s: float) -> list[dict[str, Any]]:
        return [{"parts": {name: {"seconds": 1.0, "error": measured[name]}}}]

    monkeypatch.setattr("benchmarks.gpu.__main__.run_part", pretend)
    with pytest.raises(SieveError, match=r"^fused: not measured"):
        main(["--smoke", "--parts", "fused,memory", "--save", str(tmp_path)])
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"].keys() == {"memory", "fused"}
