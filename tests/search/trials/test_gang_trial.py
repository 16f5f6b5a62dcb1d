"""Trials trained together, against the same trials trained alone."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from data.errors import LeaseLost
from models.backbones import build_classifier
from models.bundle import load_bundle
from models.config import BackboneConfig, TrainConfig
from models.training.gang import Gang
from models.training.metrics import EpochMetrics
from search import names
from search.stage.pinning import pin_confirmation, pin_search
from search.stage.samplers import make_pruner, make_sampler
from search.store.claims import Claim, Result, claim_next, finish
from search.store.pinned_stage import PinnedStage
from search.store.processes import process_name
from search.store.storage import Storage, open_storage
from search.trials import gang_trial
from search.trials.artifacts import SharedFolder
from search.trials.gang_trial import gang_limit, member_key, run_gang
from search.trials.run_trial import run_trial
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun
from search.trials.workload import WorkloadBuilder
from studies.definition import Confirm, Stage, Study, choice
from tests.search.conftest import CPU, OpenStage, open_stage, settings_at

Context = Callable[[Storage], TrialContext]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> BackboneConfig:
    """A small backbone with weights in a file, since random ones are never shared."""
    weights = tmp_path_factory.mktemp("weights") / "resnet18.pt"
    random = BackboneConfig(backbone="resnet18", weights="none", image_size=32)
    torch.manual_seed(1)
    torch.save(build_classifier(random, (3, 32, 32), 10).body.state_dict(), weights)
    return BackboneConfig(
        backbone="resnet18", weights=str(weights), image_size=32, precision="fp32", batch_size=128, epochs=2
    )


def study_of(config: BackboneConfig, **changes: object) -> Study:
    space = {"learning_rate": choice(1e-3, 3e-3), "dropout": choice(0.0, 0.3)}
    stage = Stage(name="heads", trials=4, epochs=2, sampler="random", pruner="none", space=space)
    return Study(name="tiny", description="", config=config, stages=(stage,), **changes)  # type: ignore[arg-type]


def pin(config: BackboneConfig) -> PinnedStage:
    study = study_of(config)
    return pin_search(study, 0, study.stages[0], [config])


@pytest.fixture
def make_context(digits: WorkloadBuilder, tmp_path: Path) -> Context:
    def make(storage: Storage) -> TrialContext:
        return TrialContext(
            storage=storage,
            workloads=digits,
            device=CPU,
            artifacts=SharedFolder(tmp_path),
            on_epoch=lambda claim, metrics, config: None,
        )

    return make


def runs_of(stage: OpenStage, context: TrialContext) -> list[TrialRun]:
    study = stage.storage.load_study(
        stage.record.optuna_study, sampler=make_sampler(stage.pinned), pruner=make_pruner(stage.pinned)
    )
    runs = []
    while (claim := claim_next(stage.storage, stage.record.optuna_study, process_name())) is not None:
        trial = stage.storage.open_trial(study, claim.trial_id)
        runs.append(TrialRun(trial=trial, claim=claim, stage=stage.pinned, context=context))
    return runs


@pytest.fixture
def alone(tmp_path: Path, make_context: Context) -> Callable[[PinnedStage], list[Result]]:
    """The same trials, one after another, in a database of their own."""

    def run(pinned: PinnedStage) -> list[Result]:
        storage = open_storage(settings_at(tmp_path / "alone").storage_url, create=True)
        results = [run_trial(run) for run in runs_of(open_stage(storage, pinned), make_context(storage))]
        storage.close()
        return results

    return run


def test_a_gang_gives_each_trial_the_value_that_it_would_reach_alone(
    sqlite: Storage, config: BackboneConfig, make_context: Context, alone: Callable[[PinnedStage], list[Result]]
) -> None:
    pinned = pin(config)
    runs = runs_of(open_stage(sqlite, pinned), make_context(sqlite))
    together = dict(run_gang(runs))
    expected = alone(pinned)
    assert [result.outcome for result in together.values()] == ["complete"] * 4
    for run, by_itself in zip(runs, expected, strict=True):
        assert together[run.claim].value == pytest.approx(by_itself.value, abs=0.004)  # One image of 287.
        in_gang, single = together[run.claim].attributes, by_itself.attributes
        for name in (names.CONFIG, names.SEED, names.LEARNING_PARAMETERS, names.PARAMETERS, names.EPOCHS_DONE):
            assert in_gang[name] == single[name], name


def test_each_trial_of_a_gang_reports_its_epochs(
    sqlite: Storage, config: BackboneConfig, make_context: Context
) -> None:
    runs = runs_of(open_stage(sqlite, pin(config)), make_context(sqlite))
    for claim, result in run_gang(runs):
        finish(sqlite, claim, result)
    trials = [sqlite.optuna.get_trial(run.claim.trial_id) for run in runs]
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert [list(trial.intermediate_values) for trial in trials] == [[1, 2]] * 4


def test_a_trial_whose_lease_is_lost_leaves_the_gang_without_a_result(
    sqlite: Storage, config: BackboneConfig, digits: WorkloadBuilder, tmp_path: Path
) -> None:
    def lose_the_second(claim: Claim, metrics: EpochMetrics, config: TrainConfig) -> None:
        if claim.number == 1:
            raise LeaseLost("another worker has it")

    context = TrialContext(
        storage=sqlite, workloads=digits, device=CPU, artifacts=SharedFolder(tmp_path), on_epoch=lose_the_second
    )
    runs = runs_of(open_stage(sqlite, pin(config)), context)
    assert [claim.number for claim, _ in run_gang(runs)] == [0, 2, 3]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), ZeroDivisionError("a bug in training gangs")],
    ids=["memory runs out", "there is a bug"],
)
def test_trials_that_cannot_be_trained_together_are_trained_alone(
    error: Exception,
    sqlite: Storage,
    config: BackboneConfig,
    make_context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail_in_the_second_epoch(gang: Gang) -> Iterator[dict[int, EpochMetrics]]:
        gangs.append(weakref.ref(gang))
        yield next(iterate(gang))
        raise type(error)(*error.args)  # Without a traceback that outlives it.

    def run_trial_alone(run: TrialRun) -> Result:
        assert [gang() for gang in gangs] == [None]  # Its memory is free for the trial.
        return run_trial(run)

    gangs: list[weakref.ref[Gang]] = []
    iterate = Gang.__iter__
    monkeypatch.setattr(Gang, "__iter__", fail_in_the_second_epoch)
    monkeypatch.setattr(gang_trial, "run_trial", run_trial_alone)
    runs = runs_of(open_stage(sqlite, pin(config)), make_context(sqlite))
    results = dict(run_gang(runs))
    assert [result.outcome for result in results.values()] == ["complete"] * 4
    for run in runs:
        assert results[run.claim].attributes[names.EPOCHS_DONE] == 2
        finish(sqlite, run.claim, results[run.claim])
        assert list(sqlite.optuna.get_trial(run.claim.trial_id).intermediate_values) == [1, 2]


def test_a_broken_accelerator_ends_the_whole_gang(
    sqlite: Storage, config: BackboneConfig, make_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(gang: Gang) -> Iterator[dict[int, EpochMetrics]]:
        raise torch.AcceleratorError("device-side assert triggered")

    monkeypatch.setattr(Gang, "__iter__", break_down)
    with pytest.raises(torch.AcceleratorError):
        list(run_gang(runs_of(open_stage(sqlite, pin(config)), make_context(sqlite))))


def test_a_trial_that_broke_a_process_is_trained_alone(
    sqlite: Storage, config: BackboneConfig, make_context: Context
) -> None:
    (run, *_) = runs_of(open_stage(sqlite, pin(config)), make_context(sqlite))
    assert member_key(run, config) is not None
    run.faults = 1
    assert member_key(run, config) is None


def test_finalists_of_a_gang_keep_a_whole_classifier_each(
    sqlite: Storage, config: BackboneConfig, make_context: Context
) -> None:
    pinned = pin_confirmation(study_of(config), Confirm(finalists=1, seeds=2), [config])
    context = make_context(sqlite)
    runs = runs_of(open_stage(sqlite, pinned, position=1), context)
    results = dict(run_gang(runs))
    images = context.workloads.open_data(config).search.val
    for run in runs:
        classifier = load_bundle(run.folder / names.BUNDLE_FOLDER)
        answers = classifier.predict_proba(images.pool_NHWC[images.rows_M]).argmax(axis=1)
        accuracy = float((answers == images.labels_M).mean())
        assert accuracy == pytest.approx(results[run.claim].value, abs=0.004)


def test_heads_of_another_shape_and_random_backbones_are_trained_apart(
    sqlite: Storage, config: BackboneConfig, make_context: Context
) -> None:
    (run, *_) = runs_of(open_stage(sqlite, pin(config)), make_context(sqlite))
    same, wider, random, thawed = (
        BackboneConfig(**{**vars(config), **change})
        for change in ({"dropout": 0.4}, {"head_width": 8}, {"weights": "none"}, {"freezing": "unfreeze_all"})
    )
    assert member_key(run, same) == member_key(run, config) is not None
    assert member_key(run, wider) != member_key(run, config)
    assert member_key(run, random) is member_key(run, thawed) is None


def test_each_worker_trains_its_share_of_a_stage_in_at_least_four_rounds(config: BackboneConfig) -> None:
    study = study_of(config)
    stage = replace(study.stages[0], space={"dropout": FloatDistribution(0.0, 0.3)})
    pinned = [pin_search(study, 0, replace(stage, trials=trials), [config]) for trials in (2, 20, 1000)]
    assert [gang_limit(stage, 16, CPU, workers=1) for stage in pinned] == [1, 5, 16]
    assert [gang_limit(stage, 16, CPU, workers=3) for stage in pinned] == [1, 1, 16]
    assert [gang_limit(stage, 4, CPU, workers=1) for stage in pinned] == [1, 4, 4]


def test_the_runs_of_a_confirmation_are_divided_among_the_workers(config: BackboneConfig) -> None:
    pinned = pin_confirmation(study_of(config), Confirm(finalists=1, seeds=5), [config])
    assert [gang_limit(pinned, 16, CPU, workers=workers) for workers in (1, 2, 8)] == [5, 3, 1]
