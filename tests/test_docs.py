"""The documentation's commands: every option exists, and a block that is marked `run` runs.

A fenced block is marked after its language: `sh run` is run as it is, `sh fails` must end with exit code 1, and
`python file=NAME` is written to that file. The pages share one folder and one home, in the order of `PAGES`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.main import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "docs" / f"{name}.md"
    for name in ("own-images", "seal", "own-study", "examples", "several-gpus", "several-machines")
]
ALL_PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\S*) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """`(language, mark, text)` of each fenced block."""
    yield from BLOCK.findall(page.read_text("utf-8"))


COMMAND = r"(sieve|python -m (?:search|models)\.)\s?([a-z]+(?:-[a-z]+)*)"


def commands() -> Iterator[tuple[str, list[str]]]:
    """`(command, arguments)` of every command of Sieve's that a page shows, with or without a mark."""
    for page in ALL_PAGES:
        for _, name, arguments in re.findall(f"`{COMMAND}([^`]*)`", page.read_text("utf-8")):
            if arguments:  # Without any, the page only names the command.
                yield name, shlex.split(arguments)
        for language, _, text in blocks(page):
            if language in ("", "sh", "bash"):
                for line in text.replace("\\\n", " ").splitlines():
                    # Also after variables and after `&&`, but not inside a container's command.
                    found = re.search(rf"(?:^|&& )(?:\w+=\S+ )*{COMMAND}(.*)", line)
                    if found:
                        yield found[2], shlex.split(found[3].split(" > ")[0], comments=True)


@pytest.mark.parametrize(
    ("name", "arguments"), [pytest.param(*one, id=shlex.join([one[0], *one[1]])) for one in commands()]
)
def test_every_option_that_a_page_shows_exists(name: str, arguments: list[str]) -> None:
    assert name in COMMANDS
    importlib.import_module(COMMANDS[name].module).build_parser().parse_args(arguments)


def test_readme_names_every_command() -> None:
    shown = set(re.findall(r"^\| `sieve ([\w-]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    assert shown == set(COMMANDS)


def test_readme_shows_every_package_of_search() -> None:
    tree = next(text for _, _, text in blocks(ROOT / "README.md") if text.startswith("data/ "))
    packages = [path.parent.name for path in (ROOT / "search").glob("*/__init__.py")]
    assert [name for name in packages if f"  {name}/" not in tree] == []


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_every_link_to_another_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_every_file_of_the_project_that_a_page_names_exists(page: Path) -> None:
    tops = "data|models|studies|search|tests|benchmarks|docs"
    named = re.findall(rf"`((?:{tops})/[\w./-]*)`", page.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_page_of_hyperparameters_equals_the_configurations_fields() -> None:
    script = ROOT / "docs" / "hyperparameters.py"
    spec = importlib.util.spec_from_file_location("hyperparameters", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = script.with_suffix(".md").read_text("utf-8")
    assert written == module.page(), "run `python docs/hyperparameters.py`"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's working folder, with `photos` of two classes that a small network can tell apart."""
    made = tmp_path_factory.mktemp("reader")
    generator = np.random.default_rng(0)
    for label, colour in (("ants", (200, 60, 40)), ("bees", (40, 90, 200))):
        (made / "photos" / label).mkdir(parents=True)
        for number in range(30):
            pixels = generator.normal(colour, 60, (40, 40, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(made / "photos" / label / f"{number}.png")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_marks_as_runnable_runs(page: Path, folder: Path) -> None:
    sieve = folder / "bin" / "sieve"  # The commands under test, whatever the shell would find.
    sieve.parent.mkdir(exist_ok=True)
    sieve.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m search "$@"\n')
    sieve.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SIEVE_", "MLFLOW_"))}
    environment = {**kept, "PYTHONPATH": str(ROOT), "PATH": f"{sieve.parent}:{kept['PATH']}"}
    for _, mark, text in blocks(page):
        if mark.startswith("file="):
            (folder / mark.removeprefix("file=")).write_text(text, "utf-8")
        elif mark in ("run", "fails"):
            done = subprocess.run(["bash", "-ec", text], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == (1 if mark == "fails" else 0), f"{text}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "examples" / "index.html").read_text("utf-8")
    assert "fonts.googleapis.com" not in page
