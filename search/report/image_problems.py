"""The report's section on problems of the images: what was left out, near-duplicates, label errors, outliers."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from data.files import read_json
from search import names
from search.command_line import command_line
from search.pictures.draw_all import PICTURE_FOLDER
from search.report.metric import plural
from search.settings import Settings
from search.store.records import StudyRecord
from search.verdict.held_out import FILE as LABEL_ERROR_FILE

CHECK_FOLDER = "check-data"
"""Folder in a study's folder for the lists of `sieve check-data --study NAME`."""
SUMMARY_FILE = "summary.json"
MAX_LINES = 1000
"""Lines of a list that the page holds; the path of the whole list is shown beside it."""


@dataclass(frozen=True, kw_only=True)
class ImageList:
    """A CSV file of images that the page offers for download."""

    title: str
    lines: int
    """Number of listed images."""
    path: Path
    """Where the whole list lies."""
    url: str
    """A `data:` URL of its first `MAX_LINES` lines."""

    @property
    def is_cut(self) -> bool:
        """Whether the page holds a part of the list only."""
        return self.lines > MAX_LINES


@dataclass(frozen=True, kw_only=True)
class ImageProblems:
    """What is wrong with a study's images, as far as the search and `sieve check-data` have found it."""

    findings: tuple[str, ...] = ()
    lists: tuple[ImageList, ...] = ()
    command: str | None = None
    """The command that checks the images further; None if it has been run."""


def read_image_problems(settings: Settings, record: StudyRecord) -> ImageProblems:
    """Collect the problems from the study's notes and from the files in its folder."""
    folder = names.study_folder(settings.home, record.name)
    summary = read_json(folder / CHECK_FOLDER / SUMMARY_FILE)
    candidates = {
        "probable label errors": _label_errors(folder),
        "near-duplicates": folder / CHECK_FOLDER / "near-duplicates.csv",
        "outliers": folder / CHECK_FOLDER / "outliers.csv",
    }
    lists = [_read_list(title, path) for title, path in candidates.items() if path.is_file()]
    return ImageProblems(
        findings=(*record.data.notes, *(_checked(summary) if summary else ())),
        lists=tuple(one for one in lists if one.lines),
        command=None if summary else command_line(settings, "check-data", "--study", record.name),
    )


def _label_errors(folder: Path) -> Path:
    """The newer list of probable label errors: `sieve pictures` and `sieve check-data` each write one."""
    own, checked = (folder / part / LABEL_ERROR_FILE for part in (PICTURE_FOLDER, CHECK_FOLDER))
    if not own.is_file() or not checked.is_file():
        return own if own.is_file() else checked
    return max(own, checked, key=lambda path: path.stat().st_mtime)


def _read_list(title: str, path: Path) -> ImageList:
    with path.open(encoding="utf-8", errors="backslashreplace", newline="") as file:
        head = "".join(islice(file, 1 + MAX_LINES))
        rest = sum(1 for _ in file)
    lines = max(0, sum(1 for _ in csv.reader(head.splitlines())) - 1) + rest
    content = base64.b64encode(head.encode(errors="backslashreplace")).decode()
    return ImageList(title=title, lines=lines, path=path, url=f"data:text/csv;charset=utf-8;base64,{content}")


def _checked(summary: Mapping[str, Any]) -> Iterator[str]:
    """Findings of `sieve check-data`."""
    near = summary["near_duplicates"]
    if near["images"]:
        yield f"{plural(near['images'], 'image')} in {plural(near['clusters'], 'cluster')} of near-duplicates"
    for kind, found in summary["outliers"].items():
        verb = "is" if found["images"] == 1 else "are"
        yield f"{plural(found['images'], 'image')} {verb} unusually {kind}"
    small = summary["small_classes"]
    if small:
        named = ", ".join(f"{name} ({count})" for name, count in list(small.items())[:10])
        yield f"few training images: {named}{', ...' if len(small) > 10 else ''}"
    errors = summary["label_errors"]
    if errors:
        yield f"{errors['confident']:,} of {errors['images']:,} labels are probably wrong"
