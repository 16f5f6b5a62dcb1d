from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from data.batches import Batch, EvalBatches, TrainBatches
from data.errors import InfeasibleConfig
from models.config import FlexCNNConfig, TrainConfig
from models.registry import build_model
from models.training.fit import fit
from models.training.metrics import EpochMetrics
from models.training.micro_batches import SMALLEST, MicroBatches
from models.training.scoring import evaluate

CPU = torch.device("cpu")
MakeSplits = Callable[[TrainConfig], tuple[TrainBatches, EvalBatches]]


class Roomy(nn.Module):
    """A network on a device with room for so many images at a time."""

    def __init__(self, network: nn.Module, room: int, error: Exception | None = None) -> None:
        super().__init__()
        self.network, self.room = network, room
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has ...")
        self.seen: list[int] = []

    def forward(self, images_NCHW: Tensor) -> Tensor:
        logits_NC: Tensor = self.network(images_NCHW)  # A forward pass may get far before memory runs out.
        if len(images_NCHW) > self.room:
            raise self.error
        self.seen.append(len(images_NCHW))
        return logits_NC


@pytest.fixture
def without_norm(tiny: FlexCNNConfig) -> FlexCNNConfig:
    """Each image passes this network alone: nothing of a batch is drawn or measured in it."""
    return replace(tiny, batch_norm=False, dropout=0.0, epochs=3, optimizer="sgd", learning_rate=0.05)


@pytest.fixture
def train(splits: MakeSplits) -> Callable[..., list[EpochMetrics]]:
    def run(config: TrainConfig, room: int, error: Exception | None = None) -> list[EpochMetrics]:
        torch.manual_seed(7)
        model = Roomy(build_model(config, (1, 8, 8), 3), room, error)
        batches, val = splits(config)
        return list(fit(model, batches, val, config, classes=3, device=CPU, seed=0))

    return run


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"label_smoothing": 0.1, "class_weights": "inverse_frequency"},
        {"mixup": 0.4, "class_weights": "inverse_frequency"},
        {"gradient_clip": 0.1, "ema_decay": 0.9},
    ],
    ids=lambda changes: ", ".join(changes) or "plain",
)
def test_training_in_pieces_is_that_of_whole_batches(
    changes: dict[str, Any], train: Callable[..., list[EpochMetrics]], without_norm: FlexCNNConfig
) -> None:
    config = replace(without_norm, **changes)

    whole, pieces = train(config, room=1000), train(config, room=9)

    assert [metrics.micro_batches for metrics in whole] == [1, 1, 1]
    assert [metrics.micro_batches for metrics in pieces] == [4, 4, 4]  # of 32 images: 8 at a time
    for one, other in zip(whole, pieces, strict=True):
        # Sums in another order: float32 keeps 7 digits, and 15 steps build on each other.
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-5)
        assert other.val_loss == pytest.approx(one.val_loss, rel=1e-5)


@pytest.mark.parametrize("class_weights", ["none", "inverse_frequency"])
def test_the_accumulated_gradient_is_the_batch_s(
    class_weights: str, without_norm: FlexCNNConfig, splits: MakeSplits
) -> None:
    from models.training.state import TrainingState

    gradients = []
    for pieces in (1, 3):  # 32 images in pieces of 11, 11 and 10
        torch.manual_seed(7)
        config = replace(without_norm, class_weights=class_weights)
        model, (batches, _) = build_model(config, (1, 8, 8), 3), splits(config)
        state = TrainingState(model, batches, config, classes=3, device=CPU, dtype=torch.float32)
        state.micro_batches.count = pieces
        batch = next(batches.epoch(torch.Generator().manual_seed(0)))
        state.micro_batches.run(batch, state._step.add_gradients)
        gradients.append([parameter.grad for parameter in model.parameters()])

    for whole, accumulated in zip(*gradients, strict=True):
        torch.testing.assert_close(accumulated, whole, rtol=1e-4, atol=1e-7)


def test_what_does_not_fit_even_in_the_smallest_pieces_is_infeasible(
    train: Callable[..., list[EpochMetrics]], without_norm: FlexCNNConfig
) -> None:
    with pytest.raises(InfeasibleConfig, match=rf"with {SMALLEST} images at a time: CUDA out of memory[^\n]*$"):
        train(without_norm, room=SMALLEST - 1)


def test_a_cpus_out_of_memory_error_is_recognised(
    train: Callable[..., list[EpochMetrics]], without_norm: FlexCNNConfig
) -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(10**15)

    assert train(without_norm, room=16, error=found.value)[0].micro_batches == 2


def test_another_error_is_not_taken_for_a_lack_of_memory(
    train: Callable[..., list[EpochMetrics]], without_norm: FlexCNNConfig
) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(without_norm, room=16, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_validation_in_pieces_gives_the_same_scores(without_norm: FlexCNNConfig, splits: MakeSplits) -> None:
    torch.manual_seed(7)
    network = build_model(without_norm, (1, 8, 8), 3)
    _, val = splits(without_norm)  # 60 images, 32 at a time: the last batch is smaller
    roomy = Roomy(network, room=5)

    whole, pieces = (evaluate(model, val, classes=3, device=CPU) for model in (network, roomy))

    assert max(roomy.seen) <= 5
    assert (pieces.accuracy, pieces.macro_f1, pieces.images) == (whole.accuracy, whole.macro_f1, whole.images)
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-6)


def test_no_piece_is_empty() -> None:
    micro_batches = MicroBatches()
    micro_batches.count = 8

    sizes = micro_batches.run(_batch(3), lambda pieces: [len(piece.labels_N) for piece in pieces])

    assert sizes == [1, 1, 1]


def test_every_batch_is_reported(without_norm: FlexCNNConfig, splits: MakeSplits) -> None:
    config = replace(without_norm, epochs=1)
    batches, val = splits(config)
    done: Iterator[int] = iter(range(1000))

    model = build_model(config, (1, 8, 8), 3)
    list(fit(model, batches, val, config, classes=3, device=CPU, seed=0, on_batch=lambda: _advance(done)))

    assert next(done) == len(batches) + len(val)


def _advance(counter: Iterator[int]) -> None:
    next(counter)


def _batch(images: int) -> Batch:
    return Batch(torch.zeros(images, 1, 8, 8), torch.zeros(images, dtype=torch.int64))
