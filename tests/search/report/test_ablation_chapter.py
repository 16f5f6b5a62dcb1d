"""The chapter on an ablation, from made-up runs whose effects are known."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest

from models.config import FlexCNNConfig
from models.values import to_flat
from search import names
from search.report.ablation_chapter import AblationChapter, ablation_chapter
from search.report.facts import StudyFacts, read_facts
from search.report.handin.document import write_document
from search.report.make import make_report
from search.report.page import gather
from search.settings import Settings
from search.stage.describe import describe_study
from search.stage.pinning import pin_ablation
from search.stage.suggest import suggest_config
from search.store.pinned_stage import PinnedStage
from search.store.records import EpochRecord, StageRecord, add_epochs, create_study, pin_stage
from search.store.storage import Storage, open_storage
from search.verdict.ablation_result import AblationResult, read_ablation
from studies.definition import Ablation, Study
from tests.search.report.conftest import CLASSES, DATA, settings_at

STUDY = Study(
    name="cells",
    description="Batch norm brings ten points, dropout nothing.",
    config=FlexCNNConfig(image_size=8),
    ablation=Ablation(
        factors={
            "norm": {"without": {"batch_norm": False}, "with": {"batch_norm": True}},
            "dropout": {"without": {"dropout": 0.0}, "with": {"dropout": 0.5}},
        },
        epochs=3,
        seeds=4,
    ),
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with the study in it, all runs complete."""
    made = settings_at(tmp_path_factory.mktemp("ablation"))
    storage = open_storage(made.storage_url, create=True)
    create_study(storage, STUDY.name, definition=describe_study(STUDY), data=DATA)
    assert STUDY.ablation is not None
    _run(storage, made.home, pin_ablation(STUDY, STUDY.ablation, STUDY.config))
    storage.close()
    yield made


def _run(storage: Storage, home: Path, pinned: PinnedStage) -> None:
    record = StageRecord(
        study=STUDY.name, position=0, name=pinned.name, optuna_study="cells/ablation", pinned=pinned,
        state="closed", opened_at=0.0, deadline=None,
    )  # fmt: skip
    pin_stage(storage, record)
    study = optuna.create_study(study_name=record.optuna_study, storage=storage.optuna, direction="maximize")
    draw, generator = random.Random(0), np.random.default_rng(0)
    for fixed, seed in zip(pinned.queue, pinned.seeds, strict=True):
        study.enqueue_trial(fixed)
        trial = study.ask()
        config = suggest_config(pinned, trial)
        assert isinstance(config, FlexCNNConfig)
        value = 0.7 + 0.1 * config.batch_norm + draw.gauss(0, 0.004)
        for epoch in (1, 2, 3):
            metrics = {
                "epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": value, "val_loss": 1.0, "duration_s": 1.0,
                "val_accuracy": value, "val_macro_f1": value, "images_per_s": 100.0,
            }  # fmt: skip
            add_epochs(storage, [EpochRecord(trial_id=trial._trial_id, epoch=epoch, metrics=metrics, value=value)])
        for name, content in {
            names.CONFIG: to_flat(config), names.SEED: seed, names.VAL_ACCURACY: value, names.DURATION_S: 3.0,
            names.PARAMETERS: 10, names.BEST_EPOCH: 3,
        }.items():  # fmt: skip
            trial.set_user_attr(name, content)
        study.tell(trial, value)
        labels = generator.integers(0, 3, 100)
        answers = 0.5 * generator.random((100, 3)) + np.eye(3)[labels] * value
        folder = names.trial_folder(home, STUDY.name, pinned.name, trial.number)
        (folder / names.PREDICTIONS_FILE).parent.mkdir(parents=True)
        np.savez(folder / names.PREDICTIONS_FILE, labels_M=labels, probabilities_MC=answers.astype(np.float32))


@pytest.fixture(scope="module")
def read(settings: Settings) -> tuple[StudyFacts, AblationResult]:
    storage = open_storage(settings.storage_url, create=False)
    facts = read_facts(storage, STUDY.name)
    storage.close()
    assert facts.confirmation is not None
    result = read_ablation(facts.record, facts.confirmation.record, facts.confirmation.optuna_trials, settings.home)
    assert result is not None
    return facts, result


@pytest.fixture(scope="module")
def chapter(read: tuple[StudyFacts, AblationResult]) -> AblationChapter:
    facts, result = read
    assert facts.confirmation is not None
    return ablation_chapter(facts, result, facts.confirmation)


def test_the_findings_state_each_effect_with_its_interval_and_whether_it_is_clear(
    chapter: AblationChapter,
) -> None:
    first, second, _ = chapter.findings
    assert first.strength == "clear"
    assert first.text.startswith("norm instead of none: 10.")
    assert "points better in validation accuracy (95 % interval +9." in first.text
    assert second.strength == "unclear" and "do not separate it from no effect" in second.text


def test_the_tables_hold_every_effect_every_cell_and_every_class(chapter: AblationChapter) -> None:
    assert [row[0].text for row in chapter.effects.rows] == ["norm", "dropout", "norm x dropout"]
    assert chapter.cells.rows[0][5].text == "base model" and len(chapter.cells.rows) == 4
    assert chapter.classes is not None and len(chapter.classes.rows) == 4 * len(CLASSES)


def test_there_are_curves_a_forest_plot_confusion_matrices_and_precision_against_recall(
    chapter: AblationChapter,
) -> None:
    titles = [plot.title for plot in chapter.plots]
    assert titles == [
        "Validation accuracy against epoch", "Training accuracy against epoch", "Training loss against epoch",
        "Validation loss against epoch", "Confusion matrix of each cell", "Precision and recall of cat & <dog>",
    ]  # fmt: skip
    assert len(chapter.forest.figure.data) == 3
    matrices = chapter.plots[4].figure.data
    assert len(matrices) == 4 and sum(map(sum, matrices[0].text)) == 400
    assert len(chapter.plots[5].figure.data) == 4


def test_the_page_has_the_chapter_in_place_of_a_confirmation(settings: Settings) -> None:
    html = make_report(settings, STUDY.name).read_text()
    assert '<h2 id="ablation">' in html and 'id="confirmation"' not in html
    assert "norm instead of none" in html and "finalist" not in html.split("<script")[0]


def test_the_hand_in_holds_the_chapter(read: tuple[StudyFacts, AblationResult], chapter: AblationChapter) -> None:
    facts, _ = read
    document = write_document(facts, gather(facts, rank=lambda trials: []), [], chapter)
    text = document.text()
    assert "### Ablation" in text and chapter.lead in text and "Click" not in text
    assert {plot.title for plot in (chapter.forest, *chapter.plots)} <= {one.plot.title for one in document.drawings}
    for table in (chapter.effects, chapter.cells):
        assert "| " + " | ".join(table.headings) + " |" in text
