"""A gang of branches: each trains as it would alone. On a tape, which stands in for a GPU's graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from models.config import BackboneConfig, FlexCNNConfig, Optimizer, TrainConfig
from models.registry import build_model
from models.training import branch_limit as limit_module
from models.training import branches as branches_module
from models.training import captured
from models.training.branch_limit import branch_limit
from models.training.branches import BranchGang, branch_key
from models.training.capture import Branch
from models.training.device_steps import DeviceSteps
from models.training.epoch_seeds import EpochSeeds
from models.training.fit import fit
from models.training.metrics import EpochMetrics
from models.training.validation import CapturedValidation
from tests.models.conftest import MakeSplits
from tests.models.tape import CPU, TapeCapture, TapeReplay, capturable_on_a_cpu

Epochs = list[dict[int, EpochMetrics]]
SLOTS: list[dict[str, Any]] = [
    {"learning_rate": 0.01, "scheduler": "cosine"},
    {"learning_rate": 0.003, "weight_decay": 0.1, "dropout": 0.4, "label_smoothing": 0.2},
    {"learning_rate": 0.002, "scheduler": "one_cycle", "epochs": 2, "gradient_clip": 0.5, "ema_decay": 0.5},
]


@pytest.fixture(autouse=True)
def _capturable() -> Iterator[None]:
    with capturable_on_a_cpu():
        yield


@pytest.fixture
def shared(tiny: FlexCNNConfig) -> FlexCNNConfig:
    return dataclasses.replace(tiny, epochs=3, gradient_clip=1.0, ema_decay=0.9)


def _model(config: TrainConfig, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(config, (1, 8, 8), 3)


def _gang(
    make: MakeSplits, configs: Sequence[TrainConfig], tape: TapeCapture | None = None
) -> tuple[BranchGang, list[nn.Module]]:
    train, val = make(configs[0])
    gang = BranchGang(
        train, val, classes=3, device=CPU, dtype=torch.float32, capture=TapeCapture() if tape is None else tape
    )
    models = [_model(config, number) for number, config in enumerate(configs)]
    for number, (model, config) in enumerate(zip(models, configs, strict=True)):
        assert gang.admit(model, config, seed=number) == number
    return gang, models


def _solo(make: MakeSplits, config: TrainConfig, number: int) -> tuple[list[EpochMetrics], nn.Module]:
    model = _model(config, number)
    history = list(fit(model, *make(config), config, classes=3, device=CPU, seed=number, capture=TapeCapture()))
    return history, model


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in model.state_dict().values()])


def _assert_as_alone(
    make: MakeSplits, config: TrainConfig, number: int, epochs: Epochs, model: nn.Module, *, seed: int | None = None
) -> None:
    history, twin = _solo(make, config, number if seed is None else seed)
    own = [epoch[number] for epoch in epochs if number in epoch]
    assert len(own) == len(history)
    for one, other in zip(own, history, strict=True):
        for name in ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-4, abs=1e-7), name
    torch.testing.assert_close(_flat(model), _flat(twin), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        *({"optimizer": optimizer} for optimizer in get_args(Optimizer)),
        {"mixup": 0.2, "class_weights": "inverse_frequency"},
        {"cutmix": 1.0, "optimizer": "sgd"},
    ],
    ids=str,
)
def test_each_branch_trains_as_it_would_alone(
    splits: MakeSplits, shared: FlexCNNConfig, fields: dict[str, Any]
) -> None:
    configs = [dataclasses.replace(shared, **{**fields, **slot}) for slot in SLOTS]
    tape = TapeCapture()
    gang, models = _gang(splits, configs, tape)

    epochs = list(gang)

    assert [set(epoch) for epoch in epochs] == [{0, 1, 2}, {0, 1, 2}, {0, 1}]
    assert {metrics.steps for epoch in epochs for metrics in epoch.values()} == {"captured"}
    for number, (config, model) in enumerate(zip(configs, models, strict=True)):
        _assert_as_alone(splits, config, number, epochs, model)


@pytest.mark.slow
def test_resnets_are_branches_too(few_splits: MakeSplits) -> None:
    config = BackboneConfig(
        backbone="timm/test_resnet", weights="none", image_size=8, freezing="unfreeze_all", batch_size=16,
        epochs=2, optimizer="sgd", learning_rate=0.01, layer_decay=0.8, dropout=0.1, precision="fp32",
    )  # fmt: skip
    configs = [config, dataclasses.replace(config, learning_rate=0.003)]
    gang, models = _gang(few_splits, configs)

    epochs = list(gang)

    for number, (own, model) in enumerate(zip(configs, models, strict=True)):
        _assert_as_alone(few_splits, own, number, epochs, model)


def test_a_free_branch_takes_the_next_trial_without_a_new_capture(splits: MakeSplits, shared: FlexCNNConfig) -> None:
    tape = TapeCapture()
    configs = [dataclasses.replace(shared, epochs=epochs) for epochs in (1, 4)]
    later = dataclasses.replace(shared, learning_rate=0.0005, weight_decay=0.3, label_smoothing=0.3, epochs=3)
    gang, models = _gang(splits, configs, tape)
    late_model, epochs, captures = _model(later, 5), [], 0
    for epoch in gang:
        epochs.append(epoch)
        if len(epochs) == 1:
            captures = tape.captures
            assert gang.admit(late_model, later, seed=5) == 2

    assert [set(epoch) for epoch in epochs] == [{0, 1}, {1, 2}, {1, 2}, {1, 2}]
    assert tape.captures == captures
    for number, (config, model) in enumerate(zip(configs, models, strict=True)):
        _assert_as_alone(splits, config, number, epochs, model)
    _assert_as_alone(splits, later, 2, epochs, late_model, seed=5)


def test_a_trial_with_other_dropout_joins_by_a_new_capture(splits: MakeSplits, shared: FlexCNNConfig) -> None:
    tape = TapeCapture()
    gang, _ = _gang(splits, [dataclasses.replace(shared, epochs=epochs) for epochs in (1, 4)], tape)
    later = dataclasses.replace(shared, dropout=0.5, epochs=2)
    late_model, epochs = _model(later, 5), []
    for epoch in gang:
        epochs.append(epoch)
        if len(epochs) == 1:
            captures = tape.captures
            gang.admit(late_model, later, seed=5)
        if len(epochs) == 2:
            assert tape.captures > captures

    _assert_as_alone(splits, later, 2, epochs, late_model, seed=5)


def test_a_branch_is_ended_alone_and_its_network_holds_its_best_weights(
    splits: MakeSplits, shared: FlexCNNConfig
) -> None:
    configs = [dataclasses.replace(shared, scheduler="constant", learning_rate=rate) for rate in (0.01, 0.003)]
    gang, models = _gang(splits, configs)
    epochs = []
    for epoch in gang:
        epochs.append(epoch)
        gang.drop(0)

    assert [set(epoch) for epoch in epochs] == [{0, 1}, {1}, {1}]
    _, one_epoch = _solo(splits, dataclasses.replace(configs[0], epochs=1), 0)
    torch.testing.assert_close(_flat(models[0]), _flat(one_epoch), rtol=1e-3, atol=1e-5)
    _assert_as_alone(splits, configs[1], 1, epochs, models[1])


def test_a_branch_that_diverges_ends_alone_and_shows_it(splits: MakeSplits, shared: FlexCNNConfig) -> None:
    plain = dataclasses.replace(shared, optimizer="sgd", batch_norm=False, scheduler="constant", gradient_clip=0.0)
    configs = [plain, dataclasses.replace(plain, learning_rate=1e30)]
    tape = TapeCapture()
    gang, models = _gang(splits, configs, tape)

    epochs = list(gang)

    assert [set(epoch) for epoch in epochs] == [{0, 1}, {0}, {0}]
    assert not torch.isfinite(torch.tensor(epochs[0][1].train_loss))
    _assert_as_alone(splits, configs[0], 0, epochs, models[0])


def test_when_all_are_dropped_the_gang_is_over_and_patience_ends_a_branch(
    splits: MakeSplits, shared: FlexCNNConfig
) -> None:
    gang, _ = _gang(splits, [shared, shared])
    for epoch in gang:
        for number in epoch:
            gang.drop(number)
    assert list(gang) == []

    patient = dataclasses.replace(shared, epochs=30, patience=2, learning_rate=0.02, scheduler="constant")
    gang, models = _gang(splits, [patient])
    epochs = list(gang)
    assert len(epochs) < 30
    _assert_as_alone(splits, patient, 0, epochs, models[0])


def test_a_capture_that_fails_leaves_a_gang_that_trains_the_same(splits: MakeSplits, shared: FlexCNNConfig) -> None:
    configs = [shared, dataclasses.replace(shared, learning_rate=0.001)]
    gang, models = _gang(splits, configs, TapeCapture(fail={1: RuntimeError("not permitted")}))

    epochs = list(gang)

    assert epochs[0][0].steps == "eager: the capture failed: not permitted"
    for number, (config, model) in enumerate(zip(configs, models, strict=True)):
        _assert_as_alone(splits, config, number, epochs, model)


def _while_ending_the_capture(error: Exception) -> Exception:
    """The error of a capture that cannot be ended because of another one."""
    ending = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    ending.__context__ = error
    return ending


@pytest.mark.parametrize("reported", [lambda error: error, _while_ending_the_capture])
def test_a_gang_that_runs_out_of_memory_raises_that_error(
    splits: MakeSplits, shared: FlexCNNConfig, reported: Callable[[Exception], Exception]
) -> None:
    lack = torch.OutOfMemoryError("CUDA out of memory.")
    gang, _ = _gang(splits, [shared, shared], TapeCapture(fail={1: reported(lack)}))
    with pytest.raises(torch.OutOfMemoryError):
        next(iter(gang))


def _share_the_seed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(branches_module, "epoch_seeds", lambda seed, epoch: EpochSeeds(epoch, epoch))


def _share_the_masks(patch: pytest.MonkeyPatch) -> None:
    seed = DeviceSteps.seed
    patch.setattr(DeviceSteps, "seed", lambda self, batches, dropout: seed(self, batches, 0))


def _swap_the_scores(patch: pytest.MonkeyPatch) -> None:
    scores = CapturedValidation.scores
    patch.setattr(CapturedValidation, "scores", lambda self, on_batch: scores(self, on_batch)[::-1])


def _forget_to_reset_the_optimizer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("models.training.state.reset_state", lambda optimizer: None)


def _forget_the_rates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("models.training.step.StepValues.take", lambda self, config: None)


@pytest.mark.parametrize(
    "break_it",
    [_share_the_seed, _share_the_masks, _swap_the_scores, _forget_to_reset_the_optimizer, _forget_the_rates],
)
def test_what_branches_must_not_share_is_found_by_the_comparison(
    splits: MakeSplits,
    shared: FlexCNNConfig,
    break_it: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_it(monkeypatch)
    monkeypatch.setattr(captured, "disagreement", lambda *snapshots: "")
    with pytest.raises(AssertionError):
        test_a_free_branch_takes_the_next_trial_without_a_new_capture(splits, shared)


@pytest.mark.parametrize(
    "fields, same",
    [
        ({"learning_rate": 0.1, "weight_decay": 0.0, "epochs": 9, "patience": 3, "scheduler": "step"}, True),
        ({"dropout": 0.7, "label_smoothing": 0.3, "ema_decay": 0.5, "init": "he_normal"}, True),
        ({"dropout": 0.0}, False),
        ({"ema_decay": 0.0}, False),
        ({"filters": 16}, False),
        ({"activation": "gelu"}, False),
        ({"batch_size": 16}, False),
        ({"flip": 0.0}, False),
        ({"optimizer": "sgd"}, False),
        ({"mixup": 0.2}, False),
        ({"class_weights": "inverse_frequency"}, False),
        ({"precision": "bf16"}, False),
    ],
    ids=str,
)
def test_the_key_is_equal_for_networks_that_may_share_a_graph(
    shared: FlexCNNConfig, fields: dict[str, Any], same: bool
) -> None:
    assert (branch_key(dataclasses.replace(shared, **fields)) == branch_key(shared)) is same


def test_what_changes_in_mid_training_trains_alone(splits: MakeSplits, shared: FlexCNNConfig) -> None:
    assert branch_key(BackboneConfig(freezing="gradual")) is None
    assert branch_key(BackboneConfig(freezing="head_first")) is None
    assert branch_key(dataclasses.replace(shared, keep_checkpoints=True)) is None
    gang, _ = _gang(splits, [shared])
    with pytest.raises(ValueError, match="branch key"):
        gang.admit(_model(shared, 1), dataclasses.replace(shared, flip=0.0), seed=1)


class Timed(TapeCapture):
    """A step of n branches takes `seconds(n)`, on a clock of its own; more than `room` do not fit."""

    def __init__(self, seconds: Callable[[int], float], room: int = 1000) -> None:
        super().__init__()
        self.now, self._seconds, self._room = 0.0, seconds, room

    def capture(self, branches: Sequence[Branch]) -> Any:
        if len(branches) > self._room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        count = len(branches)

        class Ticking(TapeReplay):
            def __call__(ticking) -> None:
                self.now += self._seconds(count)

        return Ticking([])


@pytest.mark.parametrize(
    "seconds, room, limit",
    [
        (lambda n: 0.01, 1000, 12),
        (lambda n: 0.01 * n, 1000, 1),
        (lambda n: 0.01 * max(1, n / 4), 1000, 4),
        (lambda n: 0.01, 3, 2),
        (lambda n: 0.01, 0, 1),
    ],
)
def test_as_many_branches_are_trained_as_gain_and_fit(
    splits: MakeSplits, shared: FlexCNNConfig, seconds: Callable[[int], float], room: int, limit: int
) -> None:
    timed, (train, _), model = Timed(seconds, room), splits(shared), _model(shared, 0)
    before, drawn = _flat(model), torch.get_rng_state()

    found = branch_limit(
        model, shared, train,
        classes=3, device=CPU, dtype=torch.float32, capture=timed, most=12, clock=lambda: timed.now,
    )  # fmt: skip

    assert found.count == limit
    assert found.gain == pytest.approx(limit * seconds(1) / seconds(limit))
    assert torch.equal(_flat(model), before) and torch.equal(torch.get_rng_state(), drawn)
    assert limit_module._GAIN > 1


@pytest.mark.parametrize(
    "free_mib, limit",
    [
        (80_000, 8),  # all that are wanted
        (5_000, 4),  # another program has the rest: four use 4,000 MiB, eight would need twice that
        (1_500, 1),
    ],
)
def test_branches_share_the_memory_that_other_programs_leave(
    free_mib: int, limit: int, splits: MakeSplits, shared: FlexCNNConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed, (train, _) = Timed(lambda n: 0.01), splits(shared)
    free = iter([free_mib, *(free_mib - 1_000 * branches for branches in (1, 2, 4, 8))])
    monkeypatch.setattr(limit_module, "_free_bytes", lambda device: next(free))

    found = branch_limit(
        _model(shared, 0), shared, train,
        classes=3, device=CPU, dtype=torch.float32, capture=timed, most=8, clock=lambda: timed.now,
    )  # fmt: skip

    assert found.count == limit
