"""An ablation from its pinning to its table of effects, on the digits and with made-up results."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from search import names
from search.stage.budget import TimeBudget
from search.stage.pinning import pin_ablation
from search.stage.snapshot import stage_trials
from search.store.claims import finish
from search.store.pinned_stage import PinnedStage
from search.store.records import create_study, read_study
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.trials.artifacts import SharedFolder
from search.trials.trial_context import TrialContext
from search.trials.workload import WorkloadBuilder
from search.verdict.ablation_result import AblationResult, read_ablation
from search.verdict.ablation_table import print_ablation
from search.verdict.champion import Finalist, cell_ties, ties
from studies.definition import Ablation, Study
from tests.search.conftest import CONFIG, CPU, open_stage

ABLATION = Ablation(
    factors={
        "norm": {"without": {"batch_norm": False}, "with": {"batch_norm": True}},
        "dropout": {"without": {"dropout": 0.0}, "with": {"dropout": 0.5}},
    },
    epochs=2,
    seeds=2,
)
STUDY = Study(name="tiny", description="", data="digits", config=CONFIG, ablation=ABLATION)


def test_every_cell_is_trained_on_the_same_seeds_and_never_cut() -> None:
    pinned = pin_ablation(STUDY, ABLATION, CONFIG)
    by_cell = {
        index: [seed for params, seed in zip(pinned.queue, pinned.seeds, strict=True) if params[names.BASE] == index]
        for index in range(4)
    }
    assert pinned.trials == 8 and len(set(pinned.seeds)) == 2
    assert all(seeds == by_cell[0] for seeds in by_cell.values())
    assert (pinned.pruner, pinned.is_final) == ("none", True)
    assert [(base["batch_norm"], base["dropout"]) for base in pinned.bases] == [
        (False, 0.0), (False, 0.5), (True, 0.0), (True, 0.5),
    ]  # fmt: skip
    assert {base["epochs"] for base in pinned.bases} == {2}


def test_a_pinned_ablation_survives_json() -> None:
    pinned = pin_ablation(STUDY, ABLATION, CONFIG)
    assert PinnedStage.from_json(json.loads(json.dumps(pinned.to_json()))) == pinned


def test_an_ablation_after_stages_is_pinned_around_the_best_configuration() -> None:
    pinned = pin_ablation(STUDY, ABLATION, replace(CONFIG, filters=7))
    assert {base["filters"] for base in pinned.bases} == {7}


def test_a_time_budget_keeps_every_cell_and_cuts_seeds_before_epochs() -> None:
    wanted = replace(ABLATION, epochs=10, seeds=4)
    study = replace(STUDY, ablation=wanted)
    enough, half, little = (TimeBudget(study, total, [100.0], 2).fit_ablation(wanted) for total in (200, 60, 10))
    assert (enough.seeds, enough.epochs) == (4, 10)
    assert (half.seeds, half.epochs) == (2, 10)
    assert little.seeds == 2 and 1 <= little.epochs < 3


@pytest.fixture
def done(sqlite: Storage, digits: WorkloadBuilder, tmp_path_factory: pytest.TempPathFactory) -> AblationResult:
    """The tiny ablation, trained."""
    home = tmp_path_factory.mktemp("home")
    context = TrialContext(
        storage=sqlite, workloads=digits, device=CPU, artifacts=SharedFolder(home), on_epoch=lambda *_: None
    )
    return run_ablation(sqlite, context, pin_ablation(STUDY, ABLATION, CONFIG))


def run_ablation(storage: Storage, context: TrialContext, pinned: PinnedStage) -> AblationResult:
    classes = context.workloads.open_data(CONFIG).search.classes
    create_study(storage, STUDY.name, definition=StudyDefinition(), data=StudyData(classes=tuple(classes)))
    stage = open_stage(storage, pinned)
    for _ in range(pinned.trials):
        claim = stage.claim()
        finish(storage, claim, stage.run(claim, context))
    record = read_study(storage, STUDY.name)
    assert record is not None
    result = read_ablation(record, stage.record, stage_trials(storage, stage.record), context.artifacts.root)
    assert result is not None
    return result


def test_a_trained_ablation_gives_cells_effects_and_scores_on_the_validation_images(done: AblationResult) -> None:
    as_json = json.loads(json.dumps(done.to_json(), allow_nan=False))

    assert [cell["levels"] for cell in as_json["cells"]] == ABLATION.cells()
    assert [effect["factors"] for effect in as_json["effects"]] == [["norm"], ["dropout"], ["norm", "dropout"]]
    assert as_json["cells"][0]["difference"] is None
    for cell in as_json["cells"]:
        assert len(cell["values"]) == 2 and cell["lost_runs"] == 0
        assert sum(map(sum, cell["scores"]["confusion"])) == 2 * 287
        # The digits' network is too small for bfloat16: what was validated is what was kept.
        assert cell["scores"]["accuracy"] == pytest.approx(cell["mean"])
        assert cell["scores"]["balanced_accuracy"] == pytest.approx(
            sum(entry["recall"] for entry in cell["scores"]["per_class"]) / 10
        )


def test_the_table_of_effects_is_printed_with_intervals(done: AblationResult) -> None:
    console = Console(file=io.StringIO(), width=160)
    print_ablation(done, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for said in ("base model", "norm, dropout", "norm x dropout", "randomised complete blocks"):
        assert said in text


def test_a_confirmation_is_not_read_as_an_ablation(sqlite: Storage, tmp_path: Path) -> None:
    create_study(sqlite, STUDY.name, definition=StudyDefinition(), data=StudyData(classes=("a",)))
    stage, record = open_stage(sqlite), read_study(sqlite, STUDY.name)
    assert record is not None
    assert read_ablation(record, stage.record, stage_trials(sqlite, stage.record), tmp_path) is None


def test_ties_between_cells_use_the_noise_of_all_cells() -> None:
    """Two seeds alone could not: a paired t with one degree of freedom reaches far."""
    worths, noise = (0.9, 0.8, 0.898, 0.7, 0.6), (0.008, -0.006, -0.004, 0.006, -0.008)
    cells = [
        Finalist(
            index=index, lost_runs=0, config={}, val_accuracies={}, trials={},
            values={1: worth + 0.05 + extra, 2: worth - 0.05 - extra},
        )
        for index, (worth, extra) in enumerate(zip(worths, noise, strict=True))
    ]  # fmt: skip
    assert cell_ties(cells) == [2]
    assert ties(cells) == [1, 2]
