"""What a study will cost, measured on the digits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from data.errors import SieveError
from models.config import TrainConfig
from models.registry import resolved
from models.values import with_values
from search.stage.confirmation_size import FIRST_RUN_S, RUN_S
from search.supervisor import estimate as cost
from search.supervisor.estimate import SHARE_AFTER_PRUNING, estimate, total_s
from search.trials.workload import WorkloadBuilder
from studies.definition import Confirm, Stage, Study, choice
from tests.search.conftest import CPU, tiny

STUDY = replace(tiny(trials=3, epochs=2), confirm=Confirm(finalists=2, seeds=3, epochs=5))


def with_stages(*stages: Stage) -> Study:
    return replace(STUDY, stages=stages)


def test_each_stage_costs_its_trials_and_epochs_shared_by_the_workers(digits: WorkloadBuilder) -> None:
    stage, confirm = estimate(STUDY, digits, CPU, 2)
    assert (stage.name, stage.trials, stage.epochs) == ("one", 3, 2)
    assert stage.wall_s == pytest.approx(3 * 2 * stage.epoch_s / 2)
    assert (confirm.name, confirm.trials, confirm.epochs) == ("confirm", 6, 5)
    assert confirm.wall_s - confirm.saving_s == pytest.approx(6 * 5 * confirm.epoch_s / 2)
    assert 6 * RUN_S / 2 < confirm.saving_s - FIRST_RUN_S < 6 * (RUN_S + 1) / 2
    assert total_s([stage, confirm]) == stage.wall_s + confirm.wall_s > 0


def test_more_workers_than_trials_do_not_help(digits: WorkloadBuilder) -> None:
    stage, _ = estimate(STUDY, digits, CPU, 100)
    assert stage.wall_s == pytest.approx(2 * stage.epoch_s)


def test_pruning_is_expected_to_save_its_share(digits: WorkloadBuilder) -> None:
    study = tiny(trials=10, epochs=4)
    stage, _ = estimate(study, digits, CPU, 1)
    assert stage.wall_s == pytest.approx(SHARE_AFTER_PRUNING * 10 * 4 * stage.epoch_s)


def test_a_grid_has_its_cells_around_every_base(digits: WorkloadBuilder) -> None:
    grid = Stage(name="grid", sampler="grid", trials=1, epochs=1, bases=3, space={"dropout": choice(0.0, 0.1)})
    _, second, _ = estimate(with_stages(STUDY.stages[0], grid), digits, CPU, 1)
    assert second.trials == 6


@pytest.mark.parametrize("space", [{"conv_layers": choice(1, 6)}, {"learning_rate": choice(3e-3, 1e30)}])
def test_configurations_that_cannot_be_trained_do_not_stop_the_measurement(
    space: dict[str, object], digits: WorkloadBuilder
) -> None:
    values = {"optimizer": "sgd", "batch_norm": False}
    study = tiny(space=space, values=values)
    assert estimate(study, digits, CPU, 1)[0].epoch_s > 0


@pytest.mark.parametrize(
    ("device", "eager_s", "expected_s", "steps"),
    [("cuda", 0.02, 0.05, [0, 50]), ("cuda", 100.0, 100.0, [0]), ("cpu", 0.02, 0.02, [0])],
)
def test_short_steps_on_a_gpu_are_timed_as_trainings_run_them(
    device: str,
    eager_s: float,
    expected_s: float,
    steps: list[int],
    digits: WorkloadBuilder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed = []

    def scaled_epoch_s(*arguments: object, steps: int = 0) -> float:
        timed.append(steps)
        return 0.05 if steps else eager_s

    monkeypatch.setattr(cost, "_scaled_epoch_s", scaled_epoch_s)
    assert cost._epoch_s(STUDY.config, digits, torch.device(device)) == expected_s
    assert timed == steps


def test_few_images_are_trained_on_for_as_many_epochs_as_the_steps_take(
    digits: WorkloadBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    fit = cost.fit  # type: ignore[attr-defined]

    def counting(*args: Any, **options: Any) -> Any:
        trained.append(args[3].epochs)
        return fit(*args, **options)

    monkeypatch.setattr(cost, "fit", counting)
    config = with_values(resolved(STUDY.config), {"batch_size": 256})
    data = digits.open_data(config)
    assert cost._scaled_epoch_s(config, data, 25, digits, CPU, steps=50) > 0
    assert cost._scaled_epoch_s(config, data, 4, digits, CPU) > 0
    assert trained == [-(-50 // (len(data.search.train) // 256)), 2]


@pytest.mark.parametrize("name", ["to_device", "fit"])
def test_a_device_that_others_fill_is_a_one_line_error(
    name: str, digits: WorkloadBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> None:
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.setattr(cost, name, full)
    with pytest.raises(SieveError, match="tiny: neither the start configuration nor"):
        estimate(tiny(), digits, CPU, 1)


def test_a_study_without_a_trainable_configuration_is_a_one_line_error(digits: WorkloadBuilder) -> None:
    study = tiny(values={"conv_layers": 6})
    with pytest.raises(SieveError, match="tiny: neither the start configuration nor"):
        estimate(study, digits, CPU, 1)


def test_stages_at_a_smaller_size_are_timed_at_theirs_and_later_ones_at_what_they_set(
    digits: WorkloadBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[int] = []

    def epoch_s(config: TrainConfig, *_: object) -> float:
        timed.append(config.image_size)
        return float(config.image_size)

    monkeypatch.setattr(cost, "_epoch_s", epoch_s)
    small, same, full = (
        Stage(name=name, trials=3, epochs=1, space=STUDY.stages[0].space, values=values)
        for name, values in (("small", {"image_size": 16}), ("same", {}), ("full", {"image_size": 32}))
    )
    study = replace(with_stages(small, same, full), confirm=Confirm(values={"image_size": 64}))
    assert [stage.epoch_s for stage in estimate(study, digits, CPU, 1)] == [16, 16, 32, 64]
    assert timed == [16] * 3 + [32] * 3 + [64]
