"""`--output` never replaces what Sieve did not write: exit code 2, one line, and the user's files stay as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import Search
from tests.acceptance.forks import run_forked
from tests.acceptance.service import Finished


def _refused(module: str, output: Path, finished: Search, tmp_path: Path) -> Finished:
    home = finished.service.home
    ended = run_forked(module, ["--home", str(home), "--study", "tiny", "--output", str(output)], tmp_path / "here")
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    return ended


@pytest.mark.slow
def test_a_report_is_not_written_over_a_file_that_is_not_a_report(finished: Search, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<html>three years of work</html>")

    ended = _refused("search.report", thesis, finished, tmp_path)

    assert f"{thesis}: exists and was not written by Sieve" in ended.err
    assert thesis.read_text() == "<html>three years of work</html>"


@pytest.mark.slow
def test_an_export_into_a_folder_with_files_of_others_is_refused(finished: Search, tmp_path: Path) -> None:
    folder = tmp_path / "paper"
    folder.mkdir()
    (folder / "figure.png").write_text("mine")

    ended = _refused("search.export", folder, finished, tmp_path)

    assert f"{folder}: holds files that Sieve did not write, such as figure.png" in ended.err
    assert [path.name for path in folder.iterdir()] == ["figure.png"]
