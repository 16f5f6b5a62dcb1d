"""README's way through one trial: ten files at most, and each leads to the next."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILES = 10


def trail() -> list[str]:
    """The numbered files of README."""
    return re.findall(r"^\d+\. `([\w/]+\.py)`", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)


def test_one_trial_is_followed_through_at_most_ten_files_from_the_worker_to_the_training() -> None:
    files = trail()
    assert (files[0], files[-1]) == ("search/worker.py", "models/training/fit.py")
    assert len(set(files)) == len(files) <= MAX_FILES


@pytest.mark.parametrize(("file", "following"), list(pairwise(trail())))
def test_each_file_names_the_next(file: str, following: str) -> None:
    module = following.removesuffix(".py").replace("/", ".")
    assert re.search(rf"\b{re.escape(module)}\b(?!\.)", (ROOT / file).read_text()), f"{file} does not name {module}"
