"""Memory that runs out on a GPU: the trial needs too much, or another program fills the GPU. No GPU is needed here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import DeviceFull, DoesNotFit, SieveError
from search import names
from search.devices import FULL_SHARE
from search.stage.snapshot import stage_trials
from search.store.claims import Result
from search.store.records import WorkerRecord, create_study, read_study, show_worker
from search.store.storage import Storage
from search.store.study_definition import StudyDefinition
from search.trials import branch_gang, claim_trials, workload
from search.trials import worker as worker_module
from search.trials.artifacts import SharedFolder
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun
from search.trials.worker import Worker
from search.trials.workload import WorkloadBuilder
from tests.search.conftest import DATA, open_stage, settings_at

GIB = 2**30
GPU = torch.device("cuda:0")


@pytest.fixture
def on_gpu(sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialContext:
    """A worker's context on a GPU that does nothing."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * GIB)
    return TrialContext(
        storage=sqlite,
        workloads=digits,
        device=GPU,
        artifacts=SharedFolder(tmp_path),
        on_epoch=lambda claim, metrics, config: None,
    )


def use(monkeypatch: pytest.MonkeyPatch, *, others_gib: int) -> None:
    """Other programs use this much of 80 GiB, and this process 3 GiB."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ((77 - others_gib) * GIB, 80 * GIB))


def run_out(
    sqlite: Storage, context: TrialContext, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None
) -> Result:
    """Run a trial that gets no memory for its network."""

    def build(*args: object) -> None:
        raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(workload, "build_model", build)
    stage = open_stage(sqlite)
    return stage.run(stage.claim(), context)


@pytest.mark.parametrize("error", [None, DoesNotFit("out of memory with 4 images at a time: CUDA out of memory")])
def test_a_trial_on_a_gpu_that_another_program_fills_is_not_infeasible_at_once(
    error: Exception | None, sqlite: Storage, on_gpu: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, others_gib=76)
    with pytest.raises(DeviceFull, match=r"^cuda:0: out of memory, because other programs use 76.0 of 80.0 GiB; wait"):
        run_out(sqlite, on_gpu, monkeypatch, error)


@pytest.mark.parametrize("others_gib", [1, 60], ids=["free", "has room for a new worker"])
def test_a_trial_that_is_too_large_for_a_gpu_with_room_is_infeasible(
    others_gib: int, sqlite: Storage, on_gpu: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, others_gib=others_gib)
    assert others_gib <= FULL_SHARE * 80  # The supervisor starts workers here, so none may end for it.
    assert run_out(sqlite, on_gpu, monkeypatch).attributes[names.INFEASIBLE]


def test_a_trial_that_finds_no_room_beside_other_workers_is_infeasible(
    sqlite: Storage, on_gpu: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, others_gib=76)
    crowded = replace(on_gpu, shares_device=lambda: True)
    assert run_out(sqlite, crowded, monkeypatch).attributes[names.INFEASIBLE]


@pytest.fixture
def worker(sqlite: Storage, tmp_path: Path) -> Worker:
    """A worker on a GPU that does nothing, of a study that runs."""
    create_study(sqlite, "tiny", definition=StudyDefinition(), data=DATA)
    record = read_study(sqlite, "tiny")
    assert record is not None
    return Worker(settings_at(tmp_path), sqlite, record, GPU)


@pytest.mark.parametrize("room_to_ask", [True, False])
def test_a_trial_on_a_gpu_too_full_for_the_driver_is_tried_once_more_elsewhere(
    room_to_ask: bool, sqlite: Storage, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be ...")

    def refuse(*args: object) -> Any:
        raise full

    monkeypatch.setattr(worker_module, "run_trial", refuse)
    monkeypatch.setattr(branch_gang, "capture_on", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", refuse)
    if room_to_ask:
        use(monkeypatch, others_gib=77)
    stage = open_stage(sqlite, trials=2)
    with pytest.raises(DeviceFull, match=r"^cuda:0: .*out of memory.*wait until the programs that use it end"):
        worker.run_next()
    trials = stage_trials(sqlite, stage.record)
    assert {trial.state.name for trial in trials} == {"WAITING"}
    assert trials[0].user_attrs[names.FAULTS] == 1
    with pytest.raises(SieveError, match="cannot use the device any more"):
        worker.run_next()  # It lacks memory again: it is not left to others for ever.
    assert stage_trials(sqlite, stage.record)[0].state.name == "FAIL"


def test_if_memory_runs_out_while_a_gang_is_measured_one_trial_stays_and_the_others_go_back(
    sqlite: Storage, on_gpu: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(runs: object) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(claim_trials, "members_to_train", refuse)
    stage = open_stage(sqlite, trials=2)
    study = sqlite.load_study(stage.record.optuna_study)
    claims = [stage.claim(), stage.claim()]
    runs = [
        TrialRun(trial=sqlite.open_trial(study, claim.trial_id), claim=claim, stage=stage.pinned, context=on_gpu)
        for claim in claims
    ]
    assert claim_trials.as_many_as_pay(runs, claims) == runs[:1] and claims == [runs[0].claim]
    assert [trial.state.name for trial in stage_trials(sqlite, stage.record)] == ["RUNNING", "WAITING"]


@pytest.mark.parametrize(
    ("name", "device", "shares"),
    [("HERE:1:1", "cuda:0", True), ("HERE:1:1", "cuda:1", False), ("elsewhere:1:1", "cuda:0", True)],
)
def test_a_worker_knows_whether_others_of_its_study_are_on_its_device(
    name: str, device: str, shares: bool, sqlite: Storage, worker: Worker
) -> None:
    here = worker.name.rsplit(":", 2)[0]
    for row in (worker.name, name.replace("HERE", here)):
        on = "cuda:0" if row == worker.name else device
        show_worker(sqlite, WorkerRecord(name=row, study="tiny", device=on, doing="waiting", seen_at=2e9))
    assert worker._context.shares_device() is shares
    assert worker._context.count_workers() == len({worker.name, name.replace("HERE", here)})
