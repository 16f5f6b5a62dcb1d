"""How many runs of a finalist are trained at once, with a tape in the place of a GPU's graphs."""

from __future__ import annotations

import pytest
import torch

from data.errors import InfeasibleConfig
from models.config import FlexCNNConfig
from models.training.branch_limit import BranchLimit
from models.values import with_values
from search.supervisor.measure_gang import measure_gang
from search.trials import branch_gang
from search.trials.workload import WorkloadBuilder
from tests.models.tape import TapeCapture
from tests.search.conftest import CONFIG, CPU

ALONE = BranchLimit(count=1)


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branch_gang, "capture_on", lambda device: TapeCapture())


@pytest.mark.usefixtures("tape")
def test_the_runs_of_a_finalist_are_measured_as_branches(
    digits: WorkloadBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[FlexCNNConfig, int]] = []

    def measured(model: object, config: FlexCNNConfig, train: object, *, most: int, **_: object) -> BranchLimit:
        asked.append((config, most))
        return BranchLimit(count=4, gain=2.5)

    monkeypatch.setattr(branch_gang, "branch_limit", measured)
    assert measure_gang(CONFIG, digits, CPU) == BranchLimit(count=4, gain=2.5)
    assert asked == [(CONFIG, branch_gang.MOST_BRANCHES)]


@pytest.mark.usefixtures("tape")
def test_a_real_measurement_finds_one_at_least(digits: WorkloadBuilder) -> None:
    limit = measure_gang(CONFIG, digits, CPU)
    assert limit.count >= 1 and limit.gain >= 1


def test_nothing_is_measured_where_steps_are_not_recorded(digits: WorkloadBuilder) -> None:
    assert measure_gang(CONFIG, digits, CPU) == ALONE


@pytest.mark.usefixtures("tape")
def test_a_training_that_keeps_checkpoints_runs_alone(digits: WorkloadBuilder) -> None:
    assert measure_gang(with_values(CONFIG, {"keep_checkpoints": True}), digits, CPU) == ALONE


@pytest.mark.usefixtures("tape")
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), InfeasibleConfig("too deep")], ids=["memory", "infeasible"]
)
def test_a_network_that_cannot_be_measured_counts_as_trained_alone(
    error: Exception, digits: WorkloadBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = error

    def fail(*_: object, **__: object) -> BranchLimit:
        raise raised

    monkeypatch.setattr(branch_gang, "branch_limit", fail)
    assert measure_gang(CONFIG, digits, CPU) == ALONE
    raised = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        measure_gang(CONFIG, digits, CPU)
