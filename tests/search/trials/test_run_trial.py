"""What becomes of a trial, for each way in which it can end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from torch import Tensor

from data.errors import LeaseLost
from data.files import hash_folder
from models.bundle import load_bundle
from models.config import TrainConfig
from models.flexcnn import FlexCNN
from models.training.metrics import EpochMetrics
from search import names
from search.stage.pinning import pin_confirmation, pin_search
from search.store.claims import Claim, finish, release
from search.store.records import read_epochs
from search.store.storage import Storage
from search.store.tables import leases
from search.trials import workload
from search.trials.artifacts import SharedFolder
from search.trials.interruption import TimeIsUp, WorkerStopped
from search.trials.trial_context import TrialContext
from search.trials.trial_run import OUT_OF_TIME
from search.trials.working_files import remove_working_files
from search.trials.workload import WorkloadBuilder
from studies.definition import Confirm, choice
from tests.search.conftest import CONFIG, CPU, open_stage, tiny

OnEpoch = Callable[[Claim, EpochMetrics, TrainConfig], None]


@pytest.fixture
def make_context(sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path) -> Callable[[OnEpoch], TrialContext]:
    def make(on_epoch: OnEpoch = lambda claim, metrics, config: None) -> TrialContext:
        return TrialContext(
            storage=sqlite, workloads=digits, device=CPU, artifacts=SharedFolder(tmp_path), on_epoch=on_epoch
        )

    return make


@pytest.fixture
def context(make_context: Callable[..., TrialContext]) -> TrialContext:
    return make_context()


def raising(error: BaseException, *, after_epoch: int = 1) -> OnEpoch:
    def on_epoch(claim: Claim, metrics: EpochMetrics, config: TrainConfig) -> None:
        if metrics.epoch == after_epoch:
            raise error

    return on_epoch


def test_a_complete_trial_records_its_best_epoch_and_all_that_decided_it(
    sqlite: Storage, context: TrialContext
) -> None:
    stage = open_stage(sqlite, epochs=3)
    claim = stage.claim()
    result = stage.run(claim, context)
    reported = sqlite.optuna.get_trial(claim.trial_id).intermediate_values
    assert result.outcome == "complete" and result.value == max(reported.values())
    assert list(reported) == [1, 2, 3]
    assert result.attributes[names.SEED] == stage.pinned.seeds[0]
    assert result.attributes[names.CONFIG]["filters"] == CONFIG.filters
    spent_s = result.attributes[names.SPENT_S].values()
    assert min(spent_s) > 0 and sum(spent_s) < result.attributes[names.DURATION_S]
    assert reported[result.attributes[names.BEST_EPOCH]] == result.attributes[names.VAL_ACCURACY] == result.value


def test_a_network_that_cannot_be_built_is_infeasible_and_no_failure(sqlite: Storage, context: TrialContext) -> None:
    stage = open_stage(sqlite, sampler="grid", space={"conv_layers": choice(6)})
    claim = stage.claim()
    result = stage.run(claim, context)
    assert result.outcome == "pruned" and result.attributes[names.INFEASIBLE]
    assert sqlite.optuna.get_trial(claim.trial_id).constraints == {}  # Another worker may have the trial by now.
    finish(sqlite, claim, result)
    assert sqlite.optuna.get_trial(claim.trial_id).constraints == {"feasible": 1.0}


def test_a_training_that_diverges_is_pruned_with_the_reason(sqlite: Storage, context: TrialContext) -> None:
    space = {"learning_rate": choice(1e30)}
    stage = open_stage(sqlite, sampler="grid", space=space, values={"optimizer": "sgd", "batch_norm": False})
    result = stage.run(stage.claim(), context)
    assert result.outcome == "pruned" and "learning_rate=1e+30" in result.attributes[names.REASON]


def test_memory_that_runs_out_is_infeasible(
    sqlite: Storage, context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "build_model", _raise(torch.OutOfMemoryError("tried to allocate 2 TiB")))
    stage = open_stage(sqlite)
    result = stage.run(stage.claim(), context)
    assert result.outcome == "pruned" and result.attributes[names.INFEASIBLE]
    assert "2 TiB" in result.attributes[names.REASON]


def test_a_batch_that_does_not_fit_is_trained_in_pieces_and_the_trial_records_it(
    sqlite: Storage, context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = FlexCNN.forward

    def with_room_for_100(network: FlexCNN, images_NCHW: Tensor) -> Tensor:
        if network.training and len(images_NCHW) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(network, images_NCHW)

    monkeypatch.setattr(FlexCNN, "forward", with_room_for_100)
    stage = open_stage(sqlite)
    result = stage.run(stage.claim(), context)
    assert result.outcome == "complete"
    assert result.attributes[names.MICRO_BATCHES] == 4  # of the 256 images that are configured
    assert result.attributes[names.CONFIG]["batch_size"] == 256


def test_a_bug_costs_one_trial_and_keeps_the_end_of_its_traceback(
    sqlite: Storage, context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "build_model", _raise(ZeroDivisionError("a bug")))
    stage = open_stage(sqlite)
    result = stage.run(stage.claim(), context)
    assert result.outcome == "failed" and result.attributes[names.REASON].endswith("ZeroDivisionError: a bug")


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("device-side assert triggered"),
        OperationalError("INSERT", {}, Exception("server closed the connection")),
        LeaseLost("another worker has it"),
    ],
    ids=["a broken accelerator", "a database that is away", "a lost lease"],
)
def test_the_trial_is_not_blamed_for(
    error: Exception, sqlite: Storage, context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "build_model", _raise(error))
    stage = open_stage(sqlite)
    with pytest.raises(type(error)):
        stage.run(stage.claim(), context)


def test_a_trial_that_the_time_budget_cuts_is_marked_as_out_of_time_and_keeps_its_epochs(
    sqlite: Storage, make_context: Callable[..., TrialContext]
) -> None:
    stage = open_stage(sqlite, epochs=3)
    result = stage.run(stage.claim(), make_context(raising(TimeIsUp())))
    assert (result.outcome, result.attributes[names.REASON]) == ("pruned", OUT_OF_TIME)
    assert result.attributes[names.OUT_OF_TIME]
    assert result.attributes[names.EPOCHS_DONE] == 1


def test_a_stopped_trial_resumes_and_ends_as_if_it_had_never_stopped(
    sqlite: Storage, make_context: Callable[..., TrialContext]
) -> None:
    stage = open_stage(sqlite, epochs=3, trials=1, space={})
    claim = stage.claim()
    with pytest.raises(WorkerStopped):
        stage.run(claim, make_context(raising(WorkerStopped(), after_epoch=2)))
    release(sqlite, claim)
    written: list[int] = []
    again = stage.claim()
    result = stage.run(again, make_context(lambda claim, metrics, config: written.append(metrics.epoch)))

    reference = _run_undisturbed(sqlite, make_context())
    assert again.number == claim.number and written == [2, 3]  # The second was trained, and not yet written down.
    assert [row.epoch for row in read_epochs(sqlite, claim.trial_id)] == [1, 2, 3]
    assert sqlite.optuna.get_trial(claim.trial_id).intermediate_values == reference
    assert result.attributes[names.EPOCHS_DONE] == 3
    epochs_s = sum(row.metrics["duration_s"] for row in read_epochs(sqlite, claim.trial_id))
    assert result.attributes[names.DURATION_S] >= epochs_s - 0.001


def _run_undisturbed(storage: Storage, context: TrialContext) -> dict[int, float]:
    """Reports of the same trial in a stage of its own that shares no file with the first."""
    study = tiny(epochs=3, trials=1, space={})
    pinned = pin_search(study, 0, study.stages[0], [study.config])
    stage = open_stage(storage, replace(pinned, name="undisturbed"), position=1)
    claim = stage.claim()
    stage.run(claim, context)
    return storage.optuna.get_trial(claim.trial_id).intermediate_values


def test_a_checkpoint_of_another_database_s_trial_is_not_resumed(
    sqlite: Storage, context: TrialContext, tmp_path: Path
) -> None:
    stage = open_stage(sqlite)
    folder = names.trial_folder(tmp_path, "tiny", "one", 0)
    folder.mkdir(parents=True)
    (folder / names.CHECKPOINT_FILE).write_bytes(b"of a study that is gone")
    assert stage.run(stage.claim(), context).outcome == "complete"


def test_only_a_finalist_keeps_files_its_classifier_and_its_predictions(
    sqlite: Storage, context: TrialContext, tmp_path: Path
) -> None:
    stage = open_stage(sqlite)
    confirmation = open_stage(sqlite, pin_confirmation(tiny(), Confirm(finalists=1, seeds=1), [CONFIG]), position=1)
    for opened in (stage, confirmation):
        claim = opened.claim()
        finish(sqlite, claim, opened.run(claim, context))
        remove_working_files(context.artifacts, opened.record, claim.number)
    folder = names.trial_folder(tmp_path, "tiny", "confirm", 0)
    kept = sorted(tmp_path.glob("studies/tiny/trials/*/*"), reverse=True)
    assert kept == [folder / names.BUNDLE_FOLDER, (folder / names.PREDICTIONS_FILE).parent]
    assert len(load_bundle(kept[0]).classes) == 10
    assert sqlite.optuna.get_trial(claim.trial_id).user_attrs[names.CLASSIFIER_HASH] == hash_folder(kept[0])


def test_a_worker_that_lost_a_finalist_leaves_the_classifier_of_the_next_owner_alone(
    sqlite: Storage, context: TrialContext, tmp_path: Path
) -> None:
    confirmation = open_stage(sqlite, pin_confirmation(tiny(), Confirm(finalists=1, seeds=1), [CONFIG]), position=1)
    claim = confirmation.claim()
    kept = names.trial_folder(tmp_path, "tiny", "confirm", 0) / names.BUNDLE_FOLDER
    kept.mkdir(parents=True)
    (kept / "weights").write_bytes(b"of the next owner")
    with sqlite.engine.begin() as connection:
        connection.execute(update(leases).values(token="the next owner's"))
    with pytest.raises(LeaseLost):
        confirmation.run(claim, context)
    assert [path.name for path in kept.iterdir()] == ["weights"]


def _raise(error: Exception) -> Callable[..., Any]:
    def build(*args: object, **kwargs: object) -> None:
        raise error

    return build
