"""What the documentation says can be typed: every option exists, and what is marked `run` runs.

A fenced block is marked behind its language: `sh run` is run as it stands, `sh fails` must end with exit code 1, and
`python file=NAME` is written to that file. Pages share one folder and one home, in the order of `READ_IN_ORDER`.
"""

from __future__ import annotations

import argparse
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

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "docs" / f"{name}.md" for name in ("own-images", "seal", "own-study", "several-gpus", "several-machines")
]
ALL_PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\S*) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """`(language, mark, text)` of each fenced block."""
    yield from BLOCK.findall(page.read_text("utf-8"))


def commands() -> Iterator[tuple[str, list[str]]]:
    """`(module, arguments)` of every command of Sieve's that any page shows, with or without a mark."""
    for page in ALL_PAGES:
        for module, arguments in re.findall(r"`python -m ((?:search|models)\.[\w.]+)([^`]*)`", page.read_text("utf-8")):
            if arguments:  # Without any, it is called by its name.
                yield module, shlex.split(arguments)
        for language, _, text in blocks(page):
            if language in ("", "sh", "bash"):
                for line in text.replace("\\\n", " ").splitlines():
                    # Also after variables and behind `&&`, but not inside a container's command.
                    found = re.search(r"(?:^|&& )(?:\w+=\S+ )*python -m ((?:search|models)\.\S+)(.*)", line)
                    if found:
                        yield found[1], shlex.split(found[2], comments=True)


class Parsed(Exception):
    """The options were understood; nothing is to be done with them."""


@pytest.mark.parametrize(
    ("module", "arguments"), [pytest.param(*one, id=shlex.join([one[0], *one[1]])) for one in commands()]
)
def test_every_option_that_a_page_shows_exists(
    module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, *args: object) -> None:
        parse(parser, *args)  # type: ignore[arg-type]
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    package = importlib.import_module(module)
    command = package if hasattr(package, "main") else importlib.import_module(f"{module}.__main__")
    with pytest.raises(Parsed):
        command.main(arguments)


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_every_link_to_another_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_the_page_of_hyperparameters_is_what_the_configuration_says() -> None:
    script = ROOT / "docs" / "hyperparameters.py"
    spec = importlib.util.spec_from_file_location("hyperparameters", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = script.with_suffix(".md").read_text("utf-8")
    assert written == module.page(), "python docs/hyperparameters.py writes it anew"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would be, with `photos` of two kinds that a small network tells apart."""
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
    python = folder / "bin" / "python"  # The one of the tests, whatever the shell would find.
    python.parent.mkdir(exist_ok=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SIEVE_", "MLFLOW_"))}
    environment = {**kept, "PYTHONPATH": str(ROOT), "PATH": f"{python.parent}:{kept['PATH']}"}
    for _, mark, text in blocks(page):
        if mark.startswith("file="):
            (folder / mark.removeprefix("file=")).write_text(text, "utf-8")
        elif mark in ("run", "fails"):
            done = subprocess.run(["bash", "-ec", text], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == (1 if mark == "fails" else 0), f"{text}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
