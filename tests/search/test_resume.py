"""A trial trained again from any epoch that it kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import UserError
from data.spec import DataSpec
from search import names
from search.resume import resume
from search.settings import Settings
from search.stage.pinning import pin_confirmation
from search.store.claims import finish
from search.store.records import create_study
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.trials.artifacts import SharedFolder
from search.trials.trial_context import TrialContext
from search.trials.working_files import remove_working_files
from search.trials.workload import WorkloadBuilder
from studies.definition import Confirm
from tests.search.conftest import CONFIG, CPU, open_stage, settings_at, tiny

KEEPING = replace(CONFIG, epochs=3, keep_checkpoints=True, dropout=0.3, optimizer="sgd", nesterov=False)


@pytest.fixture
def trained(sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path) -> Settings:
    """A finalist of three epochs, every one of them kept."""
    study = tiny()
    create_study(sqlite, study.name, definition=StudyDefinition(), data=StudyData(spec=DataSpec(source="digits")))
    stage = open_stage(sqlite, pin_confirmation(study, Confirm(finalists=1, seeds=1), [KEEPING]), position=1)
    claim = stage.claim()
    artifacts = SharedFolder(tmp_path)
    context = TrialContext(storage=sqlite, workloads=digits, device=CPU, artifacts=artifacts, on_epoch=lambda *_: None)
    finish(sqlite, claim, stage.run(claim, context))
    remove_working_files(artifacts, stage.record, 0)
    return settings_at(tmp_path)


def test_a_trial_resumed_from_any_epoch_ends_with_the_weights_it_had(trained: Settings) -> None:
    folder = names.trial_folder(trained.home, "tiny", "confirm", 0)
    expected = (folder / "classifier" / "weights.safetensors").read_bytes()
    for epoch in (1, 2, 3):
        result = resume(trained, "tiny", "confirm/0", epoch)

        assert [entry["epoch"] for entry in result["epochs"]] == [1, 2, 3]
        assert (Path(result["classifier"]) / "weights.safetensors").read_bytes() == expected
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"0-checkpoint-epoch-{epoch:03d}.pt" for epoch in (1, 2, 3)),
        "answers",
        "classifier",
        *(f"resumed-from-{epoch:03d}" for epoch in (1, 2, 3)),
    ]


@pytest.mark.parametrize(
    ("trial", "epoch", "says"),
    [
        ("confirm/7", 1, "--trial confirm/7: study tiny has no such trial; started trials are e.g. confirm/0"),
        (
            "confirm/0",
            9,
            "epoch-009.pt: no such checkpoint; a study keeps checkpoints if it runs with --set keep_checkpoints=true",
        ),
    ],
)
def test_what_was_not_kept_is_named(trained: Settings, trial: str, epoch: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        resume(trained, "tiny", trial, epoch)


def test_an_output_folder_below_a_file_is_refused_before_anything_is_trained(trained, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("search.resume._train", lambda *arguments: pytest.fail("trained"))
    with pytest.raises(UserError, match="cannot write here"):
        resume(trained, "tiny", "confirm/0", 1, output=tmp_path / "file" / "below")


def test_an_output_folder_that_exists_is_left_alone(trained: Settings, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="mine: already exists; give another folder with --output"):
        resume(trained, "tiny", "confirm/0", 1, output=tmp_path / "mine")
