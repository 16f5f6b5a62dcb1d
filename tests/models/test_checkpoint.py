from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data.batches import EvalBatches, TrainBatches
from data.errors import UserError
from models.config import FlexCNNConfig, TrainConfig
from models.registry import build_model
from models.training import checkpoint as checkpoints
from models.training.checkpoint import Checkpoint, CheckpointWriter, load_checkpoint, read_history
from models.training.fit import fit
from models.training.metrics import EpochMetrics

CPU = torch.device("cpu")
MakeSplits = Callable[[TrainConfig], tuple[TrainBatches, EvalBatches]]


def _train(make: MakeSplits, config: TrainConfig, checkpoint: Path, *, seed: int = 0) -> list[EpochMetrics]:
    train, val = make(config)
    torch.manual_seed(7)
    model = build_model(config, (1, 8, 8), 3)
    return list(fit(model, train, val, config, classes=3, device=CPU, seed=seed, checkpoint=checkpoint))


@pytest.fixture
def short(tiny: FlexCNNConfig) -> FlexCNNConfig:
    return dataclasses.replace(tiny, epochs=2)


def test_the_history_can_be_read_back_and_no_other_file_is_left(
    splits: MakeSplits, short: FlexCNNConfig, tmp_path: Path
) -> None:
    history = _train(splits, short, tmp_path / "deep" / "trial.pt")

    assert read_history(tmp_path / "deep" / "trial.pt") == history
    assert os.listdir(tmp_path / "deep") == ["trial.pt"]
    assert read_history(tmp_path / "missing.pt") == []


@pytest.mark.parametrize("kept_bytes", [0, 10, 1000, -1])
def test_a_torn_checkpoint_is_ignored_and_the_training_starts_anew(
    splits: MakeSplits, short: FlexCNNConfig, tmp_path: Path, kept_bytes: int
) -> None:
    path = tmp_path / "trial.pt"
    history = _train(splits, short, path)
    path.write_bytes(path.read_bytes()[:kept_bytes])

    assert read_history(path) == []
    again = _train(splits, short, path)

    assert [metrics.val_loss for metrics in again] == [metrics.val_loss for metrics in history]


@pytest.mark.parametrize("content", [[1, 2], {"format": 99}, {"weights": torch.zeros(2)}])
def test_a_file_of_another_kind_is_not_resumed_from(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "trial.pt")

    assert load_checkpoint(tmp_path / "trial.pt", {}, CPU) is None


def test_a_pickle_that_would_run_code_is_not_executed(tmp_path: Path) -> None:
    torch.save({"format": 1, "history": _Bomb(tmp_path / "exploded")}, tmp_path / "trial.pt")

    assert load_checkpoint(tmp_path / "trial.pt", {}, CPU) is None
    assert not (tmp_path / "exploded").exists()


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_the_checkpoint_of_another_training_is_refused_with_the_difference(
    splits: MakeSplits, short: FlexCNNConfig, tmp_path: Path
) -> None:
    path = tmp_path / "trial.pt"
    _train(splits, short, path)

    with pytest.raises(UserError, match=r"trial.pt: a checkpoint with dropout=0.2, not 0.3; delete it"):
        _train(splits, dataclasses.replace(short, dropout=0.3), path)
    with pytest.raises(UserError, match=r"a checkpoint with seed=0, not 1;"):
        _train(splits, short, path, seed=1)


def test_a_checkpoint_of_a_version_that_lacked_a_field_is_resumed_if_the_field_has_its_default(
    splits: MakeSplits, short: FlexCNNConfig, tmp_path: Path
) -> None:
    path = tmp_path / "trial.pt"
    _train(splits, short, path)
    content = torch.load(path, weights_only=True)
    del content["identity"]["flip_alternating"]
    torch.save(content, path)

    _train(splits, short, path)
    with pytest.raises(UserError, match="flip_alternating=False, not True"):
        _train(splits, dataclasses.replace(short, flip_alternating=True), path)


def test_a_checkpoint_that_cannot_be_written_is_one_clear_line(
    splits: MakeSplits, short: FlexCNNConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UserError, match=r"cannot write here: .*; free some space") as complaint:
        _train(splits, short, tmp_path / "file" / "trial.pt")

    assert "\n" not in str(complaint.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_leaves_the_last_whole_checkpoint(splits: MakeSplits, short: FlexCNNConfig, tmp_path: Path) -> None:
    path = tmp_path / "trial.pt"
    train, val = splits(short)
    epochs = fit(build_model(short, (1, 8, 8), 3), train, val, short, classes=3, device=CPU, seed=0, checkpoint=path)
    first = next(epochs)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.symlink_to("/dev/full")

    with pytest.raises(UserError, match="cannot write here: No space left"):
        next(epochs)

    assert read_history(path) == [first]
    assert not part.is_symlink()


def test_writing_takes_a_share_of_the_time_except_where_a_checkpoint_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def save(path: Path, checkpoint: Checkpoint) -> None:
        nonlocal now
        now += 0.5

    def written(**options: Any) -> list[int]:
        nonlocal now
        now = 0.0
        writer = CheckpointWriter(tmp_path / "c.pt", epochs=31, clock=lambda: now, **options)
        epochs = []
        for epoch in range(1, 32):
            now += 1.0
            if writer.is_due(epoch):
                writer.write(epoch, state)
                epochs.append(epoch)
        return epochs

    monkeypatch.setattr(checkpoints, "save_checkpoint", save)
    state = Checkpoint(identity={}, model={}, optimizer={}, average=None, best_weights={}, history=[])
    assert written() == list(range(1, 32))
    assert written(share=0.1) == [1, 6, 11, 16, 21, 26]  # The last epoch is due, but the result follows at once.
    assert written(share=0.1, needed={2, 4, 31}) == [1, 2, 4, 9, 14, 19, 24, 29, 31]
    assert written(share=0.1, keep_all=True) == list(range(1, 32))


def test_a_process_killed_at_any_moment_leaves_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    path = tmp_path / "trial.pt"
    program = textwrap.dedent(
        f"""
        import itertools, pathlib, torch
        from models.training.checkpoint import Checkpoint, save_checkpoint
        weights = {{"weight": torch.zeros(2**20)}}
        for number in itertools.count():
            save_checkpoint(pathlib.Path({str(path)!r}), Checkpoint(
                identity={{}}, model=weights, optimizer={{}}, average=None, best_weights=weights, history=[]))
            print(number, flush=True)
        """
    )
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(3):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)

        assert load_checkpoint(path, {}, CPU) is not None
