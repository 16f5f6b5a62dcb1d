"""Recorded steps give what the steps themselves give: on a tape, which stands in for a GPU's graph."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.config import Activation, BackboneConfig, FlexCNNConfig, Optimizer, TrainConfig
from models.flexcnn import FlexCNN
from models.registry import build_model
from models.training import captured, state
from models.training.capture import Branch, CaptureChoice
from models.training.device_epoch import DeviceEpoch
from models.training.fit import fit
from models.training.metrics import EpochMetrics
from tests.models.conftest import MakeSplits, Splits
from tests.models.tape import CPU, NotPermitted, Tape, TapeCapture, capturable_on_a_cpu

MEASURED = ("duration_s", "images_per_s", "memory_mib", "steps")

EVERYTHING: dict[str, Any] = {
    "flip": 0.5, "rotation": 15.0, "resized_crop": 0.6, "color_jitter": 0.2, "crop_padding": 1, "erasing": 0.5,
    "class_weights": "inverse_frequency", "label_smoothing": 0.1, "gradient_clip": 1.0, "ema_decay": 0.9,
    "dropout_where": "both",
}  # fmt: skip
CONFIGS: list[dict[str, Any]] = [
    *({"activation": activation} for activation in get_args(Activation)),
    *({"optimizer": optimizer, "scheduler": "one_cycle"} for optimizer in get_args(Optimizer)),
    *({"pooling": pooling} for pooling in ("avg", "none")),
    *({"dropout_where": where, "batch_norm": norm} for where in ("conv", "both") for norm in (True, False)),
    {**EVERYTHING, "optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0},
    {**EVERYTHING, "optimizer": "nadam", "mixup": 0.2, "precision": "bf16"},
    {
        "cutmix": 1.0,
        "focal_gamma": 2.0,
        "sampling": "balanced",
        "warmup_epochs": 1.5,
        "auto_augment": "trivial_augment",
    },
]


class Unrecorded:
    """Replays by doing the work again: eager steps in the form of captured ones."""

    worthwhile_steps = 0
    branches: Sequence[Branch] = ()

    def run(self, branches: Sequence[Branch]) -> None:
        TapeCapture().run(branches)

    def capture(self, branches: Sequence[Branch]) -> Unrecorded:
        replay = Unrecorded()
        replay.branches = branches
        return replay

    def __call__(self) -> None:
        self.run(self.branches)

    def release(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _capturable() -> Any:
    with capturable_on_a_cpu():
        yield


def _train(
    make: MakeSplits, config: TrainConfig, capture: CaptureChoice, **options: Any
) -> tuple[list[EpochMetrics], nn.Module]:
    torch.manual_seed(7)
    model = build_model(config, (1, 8, 8), 3)
    train, val = make(config)
    history = list(fit(model, train, val, config, classes=3, device=CPU, seed=3, capture=capture, **options))
    return history, model


def _numbers(history: list[EpochMetrics]) -> list[dict[str, Any]]:
    return [{k: v for k, v in dataclasses.asdict(metrics).items() if k not in MEASURED} for metrics in history]


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in model.state_dict().values()])


def _same_training(make: MakeSplits, config: TrainConfig, one: CaptureChoice, other: CaptureChoice) -> bool:
    (history, model), (again, twin) = _train(make, config, one), _train(make, config, other)
    return _numbers(history) == _numbers(again) and torch.equal(_weights(model), _weights(twin))


@pytest.mark.parametrize("fields", CONFIGS, ids=str)
def test_captured_steps_equal_eager_steps_bit_for_bit(
    splits: MakeSplits, tiny: FlexCNNConfig, fields: dict[str, Any]
) -> None:
    config = dataclasses.replace(tiny, **{"epochs": 3, **fields})

    assert _train(splits, config, TapeCapture())[0][-1].steps == "captured"
    assert _same_training(splits, config, TapeCapture(), Unrecorded())


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_captured_steps_are_those_without_a_capture_but_for_rounding(
    splits: MakeSplits, tiny: FlexCNNConfig, optimizer: Optimizer
) -> None:
    config = dataclasses.replace(tiny, optimizer=optimizer, ema_decay=0.9, gradient_clip=1.0)

    (history, model), (plain, twin) = (_train(splits, config, capture) for capture in (TapeCapture(), "never"))

    torch.testing.assert_close(_weights(model), _weights(twin), rtol=1e-4, atol=1e-6)  # rates in float32, not 64
    for one, other in zip(history, plain, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-4)


@pytest.mark.parametrize("freezing, captures", [("unfreeze_all", 1), ("head_first", 2), ("gradual", 4)])
def test_a_resnet_is_captured_anew_whenever_more_of_it_learns(
    few_splits: MakeSplits, freezing: Any, captures: int
) -> None:
    config = BackboneConfig(
        backbone="timm/test_resnet", weights="none", image_size=8, freezing=freezing, batch_size=16, epochs=4,
        optimizer="sgd", learning_rate=0.01, layer_decay=0.8, dropout=0.1, head_epochs=0.25,
    )  # fmt: skip
    tape = TapeCapture()

    history, model = _train(few_splits, config, tape)
    eager, twin = _train(few_splits, config, Unrecorded())

    assert [metrics.steps for metrics in history] == ["captured"] * 4
    assert tape.captures == captures + 2  # and validation's, of a full batch and of the rest
    assert _numbers(history) == _numbers(eager) and torch.equal(_weights(model), _weights(twin))


def _freeze_the_learning_rate(patch: pytest.MonkeyPatch) -> None:
    begin, advance = DeviceEpoch.begin, DeviceEpoch.advance

    def note(self: Any, order_M: Tensor, rates: Sequence[float], averaging: Sequence[float] = ()) -> None:
        begin(self, order_M, rates, averaging)
        self.rates, self.number = list(rates), 0

    def from_python(self: Any) -> Tensor:
        index_N = advance(self)
        self.rates_G.fill_(self.rates[min(self.number, len(self.rates) - 1)])
        self.number += 1
        return index_N

    patch.setattr(DeviceEpoch, "begin", note)
    patch.setattr(DeviceEpoch, "advance", from_python)


def _freeze_the_masks(patch: pytest.MonkeyPatch) -> None:
    def drawn_on_the_host(self: nn.Dropout, values: Tensor) -> Tensor:
        kept = np.random.default_rng(int(torch.default_generator.get_state()[:4].sum())).random(values.shape) >= self.p
        torch.rand(1)  # so that the generator moves on as it would
        return values * torch.tensor(kept) / (1 - self.p) if self.training else values

    patch.setattr(nn.Dropout, "forward", drawn_on_the_host)


def _freeze_the_order(patch: pytest.MonkeyPatch) -> None:
    begin, advance = DeviceEpoch.begin, DeviceEpoch.advance

    def note(self: Any, *args: Any) -> None:
        begin(self, *args)
        self.number = 0

    def from_python(self: Any) -> Tensor:
        advance(self)
        self.number += 1
        return self._order_SN[(self.number - 1) % self.steps]

    patch.setattr(DeviceEpoch, "begin", note)
    patch.setattr(DeviceEpoch, "advance", from_python)


def _freeze_the_average(patch: pytest.MonkeyPatch) -> None:
    move = state.MovingAverage.move  # type: ignore[attr-defined]
    patch.setattr(
        state.MovingAverage,  # type: ignore[attr-defined]
        "move",
        lambda self, model, weight: move(self, model, torch.tensor(1.0) * self.weight_at(0)),
    )


BREAKAGES = [_freeze_the_learning_rate, _freeze_the_masks, _freeze_the_order]


@pytest.mark.parametrize("break_it", BREAKAGES)
def test_what_is_frozen_into_a_capture_is_found_and_the_steps_are_run_one_by_one(
    splits: MakeSplits,
    tiny: FlexCNNConfig,
    break_it: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = dataclasses.replace(tiny, dropout=0.5)
    break_it(monkeypatch)

    with caplog.at_level(logging.WARNING):
        history, _ = _train(splits, config, TapeCapture())

    assert all(metrics.steps.startswith("eager: ") for metrics in history)
    assert history[0].steps.removeprefix("eager: ") in caplog.text


@pytest.mark.parametrize("break_it", [*BREAKAGES, _freeze_the_average])
def test_the_comparison_with_eager_steps_fails_for_what_is_frozen(
    splits: MakeSplits,
    tiny: FlexCNNConfig,
    break_it: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = dataclasses.replace(tiny, dropout=0.5, ema_decay=0.9)
    eager = _train(splits, config, Unrecorded())[0]
    break_it(monkeypatch)
    monkeypatch.setattr(captured, "disagreement", lambda *snapshots: "")

    assert _numbers(_train(splits, config, TapeCapture())[0]) != _numbers(eager)


def test_a_capture_that_fails_leaves_the_training_as_it_was(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    failing = TapeCapture(fail={1: RuntimeError("an illegal operation\nwith details")})

    history, model = _train(splits, tiny, failing)
    eager, twin = _train(splits, tiny, Unrecorded())

    assert history[-1].steps == "eager: the capture failed: an illegal operation"
    assert _numbers(history) == _numbers(eager) and torch.equal(_weights(model), _weights(twin))


def test_where_memory_runs_out_in_a_capture_the_batch_is_cut(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    full = TapeCapture(fail={1: torch.OutOfMemoryError("CUDA out of memory.")})
    config = dataclasses.replace(tiny, class_weights="inverse_frequency")

    history, model = _train(splits, config, full)

    assert [(metrics.steps, metrics.micro_batches) for metrics in history] == [("captured", 2)] * 4
    assert torch.isfinite(_weights(model)).all()


def test_where_memory_runs_out_before_the_capture_the_smaller_pieces_are_captured(
    splits: MakeSplits, tiny: FlexCNNConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, config = FlexCNN.forward, dataclasses.replace(tiny, dropout=0.3)

    def in_little_memory(self: FlexCNN, images: Tensor) -> Tensor:
        logits = forward(self, images)  # It counts the batch and draws dropout before memory runs out.
        if self.training and len(images) > config.batch_size // 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return logits

    monkeypatch.setattr(FlexCNN, "forward", in_little_memory)

    history, _ = _train(splits, config, TapeCapture())

    assert [(metrics.steps, metrics.micro_batches) for metrics in history] == [("captured", 2)] * 4


def test_where_even_the_smallest_pieces_cannot_be_captured_steps_are_run_one_by_one(
    splits: MakeSplits, tiny: FlexCNNConfig
) -> None:
    full = TapeCapture(fail={n: torch.OutOfMemoryError("CUDA out of memory.") for n in range(1, 9)})

    history, _ = _train(splits, tiny, full)

    assert history[0].steps == "eager: the capture failed: CUDA out of memory."
    assert history[0].micro_batches == 1  # which is enough for steps that are not captured


def test_a_training_too_short_for_a_capture_is_not_captured(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    patient = TapeCapture()
    patient.worthwhile_steps = 21

    history, _ = _train(splits, tiny, patient)  # 4 epochs of 5 steps

    assert history[0].steps == "eager" and patient.captures == 0


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
@pytest.mark.parametrize("first, then", [("tape", "tape"), ("tape", "never"), ("never", "tape")])
def test_a_checkpoint_goes_on_in_either_way(
    splits: MakeSplits, tiny: FlexCNNConfig, tmp_path: Path, first: str, then: str, optimizer: Optimizer
) -> None:
    config = dataclasses.replace(tiny, optimizer=optimizer, ema_decay=0.9)

    def way(name: str) -> CaptureChoice:
        return TapeCapture() if name == "tape" else "never"

    torch.manual_seed(7)
    model = build_model(config, (1, 8, 8), 3)
    stopped = fit(
        model, *splits(config), config,
        classes=3, device=CPU, seed=3, checkpoint=tmp_path / "c.pt", capture=way(first),
    )  # fmt: skip
    before = [next(stopped), next(stopped)]
    stopped.close()  # type: ignore[attr-defined]
    after, _ = _train(splits, config, way(then), checkpoint=tmp_path / "c.pt")
    unbroken, _ = _train(splits, config, way(first))

    for one, other in zip(before + after, unbroken, strict=True):
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-4)
    if first == then:
        assert _numbers(before + after) == _numbers(unbroken)


def test_validation_is_recorded_as_well(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    def in_small_batches(config: TrainConfig) -> Splits:
        train, val = splits(config)
        val.batch_size = 16  # of 60 images: three batches and a rest
        return train, val

    tape = TapeCapture()
    captured_history, _ = _train(in_small_batches, tiny, tape)
    plain, _ = _train(in_small_batches, tiny, Unrecorded())

    assert tape.captures == 1 + 2  # the training step, a full batch and the rest
    assert _numbers(captured_history) == _numbers(plain)


def test_a_tape_replays_onto_the_same_tensors_and_draws_anew() -> None:
    generator, total = torch.Generator().manual_seed(0), torch.zeros(4)

    def add() -> None:
        total.add_(torch.rand(4, generator=generator) * 2)

    replay = TapeCapture().capture([Branch(body=add, generators=(generator,))])
    replay()

    twin = torch.Generator().manual_seed(0)
    assert torch.equal(total, torch.rand(4, generator=twin) * 2 + torch.rand(4, generator=twin) * 2)


def test_a_tape_refuses_what_a_gpu_would_have_to_be_waited_for() -> None:
    with pytest.raises(NotPermitted, match="not permitted"), Tape():
        float(torch.ones(()).sum())
