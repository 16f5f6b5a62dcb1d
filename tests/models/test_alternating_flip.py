"""The flip that alternates between epochs, through a training: each epoch is the one it says, also after a stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import torch

from data.batches import EvalBatches, TrainBatches
from models.config import FlexCNNConfig, TrainConfig
from models.registry import build_model
from models.training.fit import fit

CPU = torch.device("cpu")
MakeSplits = Callable[[TrainConfig], tuple[TrainBatches, EvalBatches]]


def losses(make: MakeSplits, config: TrainConfig, checkpoint: Path | None = None, epochs: int = 4) -> list[float]:
    train, val = make(config)
    torch.manual_seed(7)
    model = build_model(config, (1, 8, 8), 3)
    training = fit(model, train, val, config, classes=3, device=CPU, seed=0, checkpoint=checkpoint)
    return [metrics.train_loss for metrics in islice(training, epochs)]


@pytest.fixture
def config(tiny: FlexCNNConfig) -> FlexCNNConfig:
    return dataclasses.replace(tiny, flip=0.0, flip_alternating=True, dropout=0.0)


def test_each_epoch_of_a_training_is_announced(
    splits: MakeSplits, config: FlexCNNConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[int] = []
    monkeypatch.setattr(TrainBatches, "begin_epoch", lambda self, epoch: announced.append(epoch))
    still = losses(splits, config)
    assert announced == [1, 2, 3, 4]
    monkeypatch.undo()
    alternating = losses(splits, config)
    # The first epoch mirrors the same half either way; the second mirrors the other one.
    assert alternating[0] == still[0] and alternating[1] != still[1]


def test_a_training_that_was_stopped_goes_on_with_the_other_half(
    splits: MakeSplits, config: FlexCNNConfig, tmp_path: Path
) -> None:
    whole = losses(splits, config)
    checkpoint = tmp_path / "state"
    losses(splits, config, checkpoint, epochs=1)
    assert losses(splits, config, checkpoint) == whole[1:]
