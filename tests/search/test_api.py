from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.errors import UserError
from models.config import FlexCNNConfig
from search.api import StudyFacts, figures, load_study, run
from studies.definition import Confirm, Stage, Study, choice

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIEVE_HOME", str(tmp_path))
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    names: dict[str, object] = {}
    monkeypatch.setattr("plotly.graph_objects.Figure.show", lambda figure: None)  # It would open a browser.
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    study = names["study"]
    assert isinstance(study, StudyFacts)
    assert len(study.finalists) == 2 and study.test is None
    assert (study.trials["state"] == "complete").sum() >= 8
    assert (tmp_path / "studies" / "quickstart" / "report.html").stat().st_size < 8_000_000


@pytest.mark.slow
def test_a_study_defined_in_python_runs_and_shows_its_figures(tmp_path: Path) -> None:
    stage = Stage(name="only", trials=3, epochs=1, space={"dropout": choice(0.0, 0.1, 0.2)}, sampler="grid")
    config = FlexCNNConfig(image_size=8, conv_layers=1, filters=4, dense_width=8, batch_size=256)
    mine = Study(
        name="mine",
        description="",
        data="digits",
        config=config,
        stages=(stage,),
        confirm=Confirm(finalists=1, seeds=2),
    )
    study = run(mine, home=tmp_path, workers=1)
    assert len(study.table) == len(study.trials) == 5 and study.table["filters"].unique().tolist() == [4]
    shown = figures(study)
    assert "Finalists on fresh seeds" in shown and "Stage 1: only: Parallel coordinates" in shown


def test_what_the_command_would_refuse_is_refused_with_the_same_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trials"):
        run("quickstart", home=tmp_path, trials_scale="many")
    with pytest.raises(UserError, match="no studies"):
        load_study("quickstart", home=tmp_path)
    assert list(tmp_path.iterdir()) == []
