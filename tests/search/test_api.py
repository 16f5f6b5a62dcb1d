from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.errors import UserError
from search.api import StudyFacts, load_study, run

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIEVE_HOME", str(tmp_path))
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    study = names["study"]
    assert isinstance(study, StudyFacts)
    assert len(study.finalists) == 2 and study.test is None
    assert (study.trials["state"] == "complete").sum() >= 8
    assert (tmp_path / "studies" / "quickstart" / "report.html").stat().st_size < 8_000_000


def test_what_the_command_would_refuse_is_refused_with_the_same_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trials"):
        run("quickstart", home=tmp_path, trials_scale="many")
    with pytest.raises(UserError, match="no studies"):
        load_study("quickstart", home=tmp_path)
    assert list(tmp_path.iterdir()) == []
