from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import throughput
from benchmarks.folders import lay_out
from benchmarks.throughput import measure
from benchmarks.turns import OURS, run_block, task_of
from benchmarks.workloads import WORKLOADS, Workload, pinned_block, shortened, study_of
from data.errors import UserError
from models.values import with_values
from tests.benchmarks.test_folders import make_images

EPOCHS = 2


def tiny_workload() -> Workload:
    config = with_values(WORKLOADS["W1"].config, {"epochs": EPOCHS, "batch_size": 16, "filters": 4, "conv_layers": 2})
    return replace(WORKLOADS["W1"], config=config, images=60, block_trials=2, rounds=1)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["throughput", *arguments])
    throughput.main()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("workload", ["W3", "W4", "W5"])
def test_a_workload_for_a_gpu_is_refused_without_one(workload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=f"{workload} needs a GPU"):
        run(monkeypatch, "--workload", workload, "--data", "nowhere")


def test_an_unknown_contender_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--contenders D: not a contender; choose from A, A\+, B, C, ours"):
        run(monkeypatch, "--workload", "W1", "--data", "nowhere", "--contenders", "A,D")


def test_blocks_differ_and_are_drawn_alike_every_time() -> None:
    workload = WORKLOADS["W1"]
    first, again, second = (pinned_block(study_of(workload, number)) for number in (0, 0, 1))
    assert first == again
    assert first.queue[1:] != second.queue[1:] and not set(first.seeds) & set(second.seeds)


def test_a_short_run_trains_fewer_epochs_and_begins_fewer_trials_of_the_others(tmp_path: Path) -> None:
    whole = WORKLOADS["W3"]
    short = shortened(whole, epochs=2, trials=1, box_s=5.0)
    assert (short.config.epochs, short.epochs_share) == (2, 0.1) and "2 of them" in short.title
    assert set(short.box_s.values()) == {5.0} and short.block_trials == whole.block_trials
    task = task_of(short, 0, tmp_path, tmp_path / "log", box_s=1.0)
    assert len(task.flat_configs) == len(task.seeds) == 1
    assert task.flat_configs[0]["epochs"] == 2
    assert len(task_of(whole, 0, tmp_path, tmp_path / "log", box_s=1.0).seeds) == whole.block_trials


def test_in_a_short_run_ours_has_one_turn_after_the_others() -> None:
    short = shortened(WORKLOADS["W3"], trials=1)
    assert throughput.order_of_turns(short, ("A", "A+", OURS)) == [("A", 0), ("A+", 0), (OURS, 0)]
    assert throughput.order_of_turns(WORKLOADS["W3"], ("A", "A+", OURS)) == [("A", 0), (OURS, 0), ("A+", 0), (OURS, 1)]


@pytest.mark.parametrize("arguments", [("--trials", "0"), ("--epochs", "1.5"), ("--box", "-1"), ("--box", "nan")])
def test_a_number_that_makes_no_sense_is_refused(arguments: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=f"{arguments[0]}: {arguments[1]!r}: give"):
        run(monkeypatch, "--workload", "W1", "--data", "nowhere", *arguments)


@pytest.mark.slow
def test_contenders_take_turns_and_are_compared(tmp_path: Path) -> None:
    source = make_images(tmp_path / "source", 40)
    result = measure(tiny_workload(), ("A", "A+", OURS), source, tmp_path / "scratch")
    finished = {name: figures["finished_trials"] for name, figures in result["contenders"].items()}
    assert finished == {"A": 2, "A+": 2, OURS: 4}
    assert result["ratio"].keys() == {"A", "A+"}
    assert result["val_accuracy_difference"][OURS]["pairs"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("contender", "library"), [("B", "lightning"), ("C", "ray")])
def test_a_contender_on_another_library_finishes_its_trials(contender: str, library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    source = make_images(tmp_path / "source", 40)
    lay_out(source, tmp_path / "images", images=60, val_share=0.25)
    block = run_block(contender, tiny_workload(), 0, tmp_path / "images", tmp_path / "scratch")
    assert [trial.slot for trial in sorted(block.trials, key=lambda trial: trial.slot)] == [0, 1]
    assert all(len(trial.val_accuracy) == EPOCHS for trial in block.trials)
