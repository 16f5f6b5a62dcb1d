from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.errors import UserError
from search.export_runs.__main__ import main
from tests.search.report.conftest import MadeStudy


def test_tensorboard_reads_the_curves_and_the_hyperparameters(made: MadeStudy, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    main(["--study", "made", "--home", str(made.settings.home), "--output", str(folder)])
    facts = made.facts()
    stage = facts.stages[0]
    best = stage.snapshot.best_trial
    read = EventAccumulator(str(folder / f"architecture-{best}"))
    read.Reload()
    curve = stage.epochs[stage.epochs["trial"] == best]["val_accuracy"].tolist()
    assert [event.value for event in read.Scalars("val_accuracy")] == pytest.approx(curve)
    assert read.Scalars("value")[0].value == pytest.approx(stage.snapshot.best)
    hidden = read.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert b"learning_rate" in hidden and b"activation" in hidden
    assert len(list(folder.glob("*/events.*"))) == facts.epochs.groupby(["stage", "trial"]).ngroups
    assert len(pd.read_csv(folder / "epochs.csv")) == len(facts.epochs)


def test_a_folder_with_something_else_is_refused(made: MadeStudy, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError):
        main(["--study", "made", "--home", str(made.settings.home), "--output", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
