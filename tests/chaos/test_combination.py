"""A supervisor that is killed while it combines the finalists' runs: the same command goes on, with the same result."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from data.files import hash_folder
from search import names
from tests.acceptance.forks import Finished, run_forked, run_on
from tests.acceptance.service import Service
from tests.chaos.champions import check_champion
from tests.chaos.conftest import Print
from tests.chaos.kills import KillAt

STUDY_FILE = str(Path(__file__).parent / "study_files" / "combined.py")
STEPS = [
    KillAt(target="search.supervisor.promotion:combine", when="before"),
    KillAt(target="search.supervisor.candidates:choose_runs", when="after"),
    KillAt(target="search.supervisor.candidates:Candidates.best", when="after"),
    KillAt(target="search.supervisor.candidates:save_predictions", when="after"),
    KillAt(target="models.bundle:_write_through", when="after"),
    KillAt(target="search.supervisor.candidates:Candidates.save", when="after"),
    KillAt(target="search.supervisor.combine:write_json", when="after"),
    KillAt(target="search.supervisor.promotion:_register", when="before"),
    KillAt(target="search.supervisor.promotion:_register", when="after"),
]
MEASURED = ("image_ms", "single_image_ms")
"""Times, which differ between two runs of the same search."""


def promote(home: Path, folder: Path, kill: KillAt | None = None) -> Finished:
    arguments = ["--study", STUDY_FILE, "--home", str(home), "--workers", "0", "--json"]
    return run_forked("search.run", arguments, folder, kill)


def made_below(home: Path) -> Path:
    """The folder of the combination."""
    return names.study_folder(home, "combined") / "combined"


def without_times(finished: Finished) -> dict[str, Any]:
    champion = finished.json()["champion"]
    combination = {key: value for key, value in champion["combination"].items() if key not in MEASURED}
    return {**champion, "combination": combination}


def test_killed_at_each_step_of_a_combination_the_same_command_makes_the_same_champion(
    tmp_path: Path, figures: Print
) -> None:
    service = Service(tmp_path)
    nobody_answers = ("--tracking", "http://127.0.0.1:9")
    searched = run_on(service, "search.run", "--study", STUDY_FILE, "--workers", "2", *nobody_answers)
    assert searched.code == 1 and "MLflow" in searched.err, searched.err
    shutil.rmtree(made_below(service.home))  # It was killed before it had begun to combine.
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(service.home, undisturbed)
    expected = without_times(promote(undisturbed, tmp_path / "expected"))
    assert expected["combination"]["kind"] == "ensemble" and len(expected["combination"]["trials"]) > 1

    for number, step in enumerate(STEPS):
        killed = promote(service.home, tmp_path / f"run-{number}", step)
        assert killed.code == -9, f"{step}: {killed.err}"
    found = promote(service.home, tmp_path / "found")

    assert without_times(found) == expected
    made, alike = made_below(service.home), made_below(undisturbed)
    assert sorted(path.name for path in made.iterdir()) == sorted(path.name for path in alike.iterdir())
    assert hash_folder(made / names.BUNDLE_FOLDER) == hash_folder(alike / names.BUNDLE_FOLDER)
    check_champion(f"sqlite:///{service.home / names.TRACKING_FILE}", "combined", tmp_path)
    figures(f"killed at {len(STEPS)} steps of a combination: the same champion as undisturbed")
