"""Writes a study's report to disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from data.errors import SieveError, UserError
from data.files import writing_below
from data.outputs import check_output_file
from search import names
from search.command_line import command_line
from search.pictures.draw_all import INDEX_FILE, PICTURE_FOLDER, draw_pictures
from search.report.ablation_chapter import read_chapter
from search.report.compare_page import render_comparison
from search.report.drawing import Draw, draw_now
from search.report.embedded_pictures import read_pictures
from search.report.facts import StudyFacts, read_facts
from search.report.image_problems import CHECK_FOLDER, SUMMARY_FILE, read_image_problems
from search.report.importance import RankParameters, rank_parameters
from search.report.notes import leave_notes
from search.report.page import render
from search.report.pieces import Page
from search.settings import Settings
from search.store.storage import open_storage
from search.terminal import DataProgress, say
from search.verdict.held_out import FILE as LABEL_ERROR_FILE

REPORT_FILE = "report.html"
COMPARISONS = "comparisons"
"""Folder below the home for pages that compare studies."""
MAX_NAME = 100
"""Characters of a comparison's file name."""
MARKER = b'<meta name="generator" content="Sieve">'
"""Text near the beginning of every report. Only a file that contains it is overwritten."""


def make_report(settings: Settings, study: str, output: Path | None = None) -> Path:
    """Write a study's report and return its path; also save a summary as each stage's note in optuna-dashboard.

    The path is `output` or, by default, `report.html` in the study's folder. Raises UserError if the study does not
    exist, if `output` is a file that is not a report, or if the report cannot be written.
    """
    path = (output or names.study_folder(settings.home, study) / REPORT_FILE).expanduser().resolve()
    if output:
        check_output_file(path, MARKER)
    storage = open_storage(settings.storage_url, create=False)
    try:
        facts = read_facts(storage, study)
        leave_notes(settings, storage, facts)
    finally:
        storage.close()
    page = render_study(settings, facts)
    with writing_below(path.parent):
        _write_whole(path, page.html)
    return path


def render_study(
    settings: Settings, facts: StudyFacts, *, rank: RankParameters = rank_parameters, draw: Draw = draw_now
) -> Page:
    """The report's page with the study's ablation and pictures; `rank` and `draw` are those of `gather`."""
    ablation = read_chapter(settings, facts)
    pictures = read_pictures(settings.home, facts.record.name, is_tested=facts.test is not None)
    problems = read_image_problems(settings, facts.record)
    open_seal = command_line(settings, "evaluate", "--study", facts.record.name)
    return render(facts, pictures, ablation, problems=problems, rank=rank, draw=draw, open_seal=open_seal)


def shown_files_changed_at(settings: Settings, study: str) -> float:
    """Seconds since the epoch at which a file that the report shows was last written; 0.0 without such files.

    Such files are the champion's pictures and the lists of `sieve check-data`.
    """
    folder = names.study_folder(settings.home, study)
    files = (
        folder / PICTURE_FOLDER / INDEX_FILE,
        folder / PICTURE_FOLDER / LABEL_ERROR_FILE,
        folder / CHECK_FOLDER / SUMMARY_FILE,
    )
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)


def make_comparison(settings: Settings, studies: Sequence[str], output: Path | None = None) -> Path:
    """Write the comparison of several studies and return its path, by default in `comparisons/` below the home.

    Raises UserError for fewer than two studies, a study that does not exist, or a file that is in the way.
    """
    path = output or settings.home / COMPARISONS / f"{'-'.join(studies)[:MAX_NAME]}.html"
    path = path.expanduser().resolve()
    if output:
        check_output_file(path, MARKER)
    page = compare(settings, studies)
    with writing_below(path.parent):
        _write_whole(path, page)
    return path


def compare(settings: Settings, studies: Sequence[str]) -> str:
    """The comparison of several studies as HTML. Raises UserError for fewer than two of them, or an unknown one."""
    wanted = list(dict.fromkeys(studies))
    if len(wanted) < 2:
        raise UserError(f"--compare {' '.join(studies)}: give at least two different studies")
    storage = open_storage(settings.storage_url, create=False)
    try:
        return render_comparison([read_facts(storage, study) for study in wanted])
    finally:
        storage.close()


def try_report(settings: Settings, study: str, *, pictures: bool) -> Path | None:
    """Write the report at the end of another command, which must not fail because of it; return its path.

    With `pictures`, the champion's pictures are drawn first. A failure is printed as one line on stderr; without a
    report, the result is None.
    """
    say("drawing the pictures and writing the report" if pictures else "writing the report")
    path = None
    try:
        if pictures:
            with DataProgress() as progress:
                draw_pictures(settings, study, progress=progress)
    except Exception as error:  # Any error: the result is stored, and this only shows it.
        say(f"no pictures: {_one_line(error)}; to try again: `{command_line(settings, 'pictures', '--study', study)}`")
    try:
        path = make_report(settings, study)
    except Exception as error:
        say(f"no report: {_one_line(error)}; to try again: `{command_line(settings, 'report', '--study', study)}`")
    return path


def _one_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    kind = "" if isinstance(error, SieveError) else f"{type(error).__name__}: "
    return f"{kind}{text[0] if text else ''}"


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new content, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
