"""Folders of machine-learning projects hold files with the names of Sieve's packages; the commands work there."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.acceptance.service import ROOT, STUDY_FILES, Finished

IN_THE_WAY = "raise SystemExit(f'the user\\'s own {__file__} was imported')\n"
PLAN = ("run", "--study", "quickstart", "--plan", "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's working folder."""
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
def sieve(tmp_path: Path) -> list[str]:
    """The command `sieve`, as the script that pip makes of its entry in pyproject.toml."""
    module, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["sieve"].split(":")
    script = tmp_path / "bin" / "sieve"
    script.parent.mkdir()
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    return [sys.executable, str(script)]


def run(command: list[str], *arguments: str, folder: Path) -> Finished:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SIEVE_", "MLFLOW_"))}
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env={**kept, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    return Finished(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.mark.parametrize(
    "files",
    [("models.py", "data.py", "studies.py"), ("models/__init__.py", "data/cats/photo.txt", "studies/__init__.py")],
    ids=["files", "folders"],
)
def test_python_m_works_beside_files_and_folders_with_the_names_of_packages(
    files: tuple[str, ...], folder: Path
) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(IN_THE_WAY)

    ended = run([sys.executable, "-m", f"search.{PLAN[0]}"], *PLAN[1:], folder=folder)

    assert ended.json()["study"] == "quickstart"


def test_an_import_of_ones_own_module_before_sieve_is_refused_with_the_name_of_its_file(folder: Path) -> None:
    (folder / "models.py").write_text("")

    ended = run([sys.executable, "-c", "import models, search"], folder=folder)

    assert f"{folder / 'models.py'} was imported as 'models'" in ended.err


@pytest.mark.slow
def test_a_whole_search_runs_in_a_folder_where_every_name_is_taken(sieve: list[str], folder: Path) -> None:
    for name in ("models.py", "data.py", "studies.py", "search.py", "optuna.py"):
        (folder / name).write_text(IN_THE_WAY)
    (folder / "helpers.py").write_text("NAME = 'from-helpers'\n")
    study = (STUDY_FILES / "tiny.py").read_text().replace('name="tiny"', "name=helpers.NAME")
    (folder / "mine.py").write_text(f"import helpers\n{study}")

    ended = run(sieve, "run", "--study", "mine.py", "--workers", "1", "--json", folder=folder)

    assert ended.json()["study"] == "from-helpers"
