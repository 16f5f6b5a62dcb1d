"""On a GPU a training that asks for a number in every batch waits for the device each time, and the device for it.

What would wait there is seen on any device: these operations bring a value, or a size that depends on values, to
Python.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from data.batches import Batch
from models.config import FlexCNNConfig
from models.registry import build_model
from models.training.loss import training_loss
from models.training.scoring import evaluate
from models.training.state import TrainingState
from tests.models.test_fit import MakeSplits

CPU = torch.device("cpu")
WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::bincount"}
EVERYTHING: dict[str, Any] = {
    "flip": 0.5, "rotation": 15.0, "resized_crop": 0.6, "color_jitter": 0.2, "crop_padding": 1, "erasing": 0.5,
    "class_weights": "inverse_frequency", "label_smoothing": 0.1, "gradient_clip": 1.0, "ema_decay": 0.9,
}  # fmt: skip


class Waits(TorchDispatchMode):
    """Counts operations that a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        chosen = args[1] if name in ("aten::index", "aten::index_put_") else ()
        if name in WAITING or any(index is not None and index.dtype == torch.bool for index in chosen):
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


def test_a_value_that_is_asked_for_is_seen() -> None:
    with Waits() as waits:
        float(torch.ones(()).sum())
        torch.ones(3)[torch.ones(3) > 0]
    assert waits.seen == {"aten::_local_scalar_dense": 1, "aten::index": 1}


@pytest.mark.parametrize(
    "mixing",
    [{}, {"mixup": 0.2}, {"cutmix": 1.0}, {"auto_augment": "trivial_augment"}, {"auto_augment": "rand_augment"}],
    ids=str,
)
def test_an_epoch_never_waits_however_many_batches_it_has(
    splits: MakeSplits, tiny: FlexCNNConfig, mixing: dict[str, Any]
) -> None:
    config = dataclasses.replace(tiny, optimizer="sgd", **EVERYTHING, **mixing)
    waits = {}
    for batch_size in (80, 16):
        train, _ = splits(dataclasses.replace(config, batch_size=batch_size))
        model = build_model(config, (1, 8, 8), 3)
        state = TrainingState(model, train, config, classes=3, device=CPU, dtype=torch.float32)
        with Waits() as seen:
            state.train_epoch(1, torch.Generator().manual_seed(0), lambda: None)
        waits[len(train)] = seen.seen
    assert waits[2] == waits[10]


def test_the_loss_hides_no_waiting_in_an_operation_that_is_written_otherwise_for_a_dispatch_mode() -> None:
    """With a mode such as `Waits`, torch computes the cross-entropy in another way; a profiler changes nothing."""
    logits_NC = torch.randn(8, 3, requires_grad=True)
    batch = Batch(images_NCHW=torch.zeros(8, 1, 4, 4), labels_N=torch.arange(8) % 3)
    for smoothing in (0.1, torch.tensor(0.1)):
        with torch.profiler.profile() as profiled:
            training_loss(
                logits_NC, batch, class_weights_C=torch.tensor([0.5, 1.0, 2.0]), label_smoothing=smoothing
            ).backward()  # type: ignore[no-untyped-call]
        assert not WAITING & {event.name for event in profiled.events()}


def test_validation_never_waits_however_many_batches_it_has(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    _, val = splits(tiny)
    model = build_model(tiny, (1, 8, 8), 3)
    with Waits() as waits:
        evaluate(model, val, classes=3, device=CPU)
    assert len(list(val)) == 2
    with Waits() as twice:
        evaluate(model, [*val, *val], classes=3, device=CPU)  # type: ignore[arg-type]
    assert waits.seen == twice.seen
