from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from models.training.branch_limit import BranchLimit
from search import names
from search.stage.pinning import pin_confirmation, pin_search
from search.stage.samplers import make_pruner, make_sampler
from search.store.claims import Claim
from search.store.pinned_stage import PinnedStage
from search.store.storage import Storage, open_storage
from search.trials import branch_gang
from search.trials.artifacts import SharedFolder
from search.trials.branch_gang import may_branch
from search.trials.claim_trials import as_many_as_pay, claim_trials
from search.trials.gang_trial import run_gang
from search.trials.run_trial import run_trial
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun
from search.trials.workload import WorkloadBuilder
from studies.definition import Confirm, Stage, Study, choice
from tests.models.tape import TapeCapture
from tests.search.conftest import CPU, OpenStage, open_stage, settings_at

CONFIG = FlexCNNConfig(
    image_size=8, conv_layers=1, filters=4, dense_width=8, batch_size=256, epochs=2, precision="fp32", dropout=0.1
)


@pytest.fixture(autouse=True)
def a_tape_stands_in_for_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branch_gang, "capture_on", lambda device: TapeCapture())


def _study(space: dict[str, object]) -> Study:
    stage = Stage(name="rates", trials=8, epochs=2, sampler="random", pruner="none", space=space)  # type: ignore[arg-type]
    return Study(name="tiny", description="", config=CONFIG, stages=(stage,))


def _search(**space: object) -> PinnedStage:
    study = _study(space)
    return pin_search(study, 0, study.stages[0], [CONFIG])


def _context(storage: Storage, digits: WorkloadBuilder, folder: Path) -> TrialContext:
    return TrialContext(
        storage=storage, workloads=digits, device=CPU, artifacts=SharedFolder(folder),
        on_epoch=lambda claim, metrics, config: None,
    )  # fmt: skip


def _claim(stage: OpenStage, context: TrialContext) -> list[TrialRun]:
    study = stage.storage.load_study(
        stage.record.optuna_study, sampler=make_sampler(stage.pinned), pruner=make_pruner(stage.pinned)
    )
    claimed: list[Claim] = []
    runs = claim_trials(stage.pinned, study, context, owner="me", gang_size=16, claimed=claimed)
    return as_many_as_pay(runs, claimed)


def test_only_stages_that_vary_no_shape_are_trained_in_branches() -> None:
    assert may_branch(_search(learning_rate=choice(1e-3, 1e-2), dropout=choice(0.1, 0.2)), CPU)
    assert not may_branch(_search(filters=choice(4, 8)), CPU)


def test_branches_give_each_trial_the_value_that_it_would_reach_alone(
    sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branch_gang, "branch_limit", lambda *args, most, **options: BranchLimit(count=most))
    pinned = _search(learning_rate=choice(1e-3, 1e-2), weight_decay=FloatDistribution(0.0, 0.1))
    together = _claim(open_stage(sqlite, pinned), _context(sqlite, digits, tmp_path))
    assert len(together) == 2  # A quarter of the stage's trials.
    in_gang = {claim.number: result for claim, result in run_gang(together)}

    other = open_storage(settings_at(tmp_path / "alone").storage_url, create=True)
    monkeypatch.setattr(branch_gang, "capture_on", lambda device: None)
    stage, context = open_stage(other, pinned), _context(other, digits, tmp_path / "alone")
    for number in range(2):
        (run,) = _claim(stage, context)
        alone = run_trial(run)
        assert alone.outcome == in_gang[number].outcome == "complete"
        assert in_gang[number].value == pytest.approx(alone.value, abs=0.004)  # One image of 287.
        assert in_gang[number].attributes[names.SEED] == alone.attributes[names.SEED]
    other.close()


def test_a_claim_of_a_final_stage_takes_the_runs_of_the_same_shape(
    sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branch_gang, "branch_limit", lambda *args, most, **options: BranchLimit(count=most))
    wide = FlexCNNConfig(**{**vars(CONFIG), "filters": 6})
    pinned = pin_confirmation(_study({"dropout": choice(0.1, 0.2)}), Confirm(finalists=2, seeds=3), [CONFIG, wide])
    stage, context = open_stage(sqlite, pinned), _context(sqlite, digits, tmp_path)
    assert [run.claim.number for run in _claim(stage, context)] == [0, 2, 4]
    assert [run.claim.number for run in _claim(stage, context)] == [1, 3, 5]


def test_trials_beyond_what_the_device_trains_at_once_go_back_into_the_queue(
    sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branch_gang, "branch_limit", lambda *args, most, **options: BranchLimit(count=2))
    pinned = pin_confirmation(_study({"dropout": choice(0.1, 0.2)}), Confirm(finalists=1, seeds=5), [CONFIG])
    stage, context = open_stage(sqlite, pinned), _context(sqlite, digits, tmp_path)
    claimed = [[run.claim.number for run in _claim(stage, context)] for _ in range(3)]
    assert claimed == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(("workers", "claimed"), [(1, 2), (2, 1)])
def test_a_gang_leaves_trials_for_the_other_workers(
    workers: int,
    claimed: int,
    sqlite: Storage,
    digits: WorkloadBuilder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(branch_gang, "branch_limit", lambda *args, most, **options: BranchLimit(count=most))
    context = replace(_context(sqlite, digits, tmp_path), count_workers=lambda: workers)
    stage = open_stage(sqlite, _search(learning_rate=choice(1e-3, 1e-2), weight_decay=FloatDistribution(0.0, 0.1)))
    assert len(_claim(stage, context)) == claimed  # Of 8 trials.


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_a_whole_stage_is_trained_in_gangs(
    sqlite: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data.spec import DataSpec
    from models.training.capture import chosen_capture
    from search.trials.workload import open_workload_builder

    gpu = torch.device("cuda:0")
    monkeypatch.setattr(branch_gang, "capture_on", lambda device: chosen_capture("auto", device))
    workloads = open_workload_builder(DataSpec(source="digits"), settings_at(tmp_path), gpu)
    context = TrialContext(
        storage=sqlite, workloads=workloads, device=gpu, artifacts=SharedFolder(tmp_path),
        on_epoch=lambda claim, metrics, config: None,
    )  # fmt: skip
    pinned = pin_confirmation(_study({"dropout": choice(0.1, 0.2)}), Confirm(finalists=1, seeds=4, epochs=20), [CONFIG])
    runs = _claim(open_stage(sqlite, pinned), context)
    assert len(runs) > 1
    results = [result for _, result in run_gang(runs)]
    assert [result.outcome for result in results] == ["complete"] * len(runs)
