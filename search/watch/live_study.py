"""A study's progress and its report as they stand now, for all readers of its live page."""

from __future__ import annotations

import re
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from search import names
from search.gpus import read_gpus
from search.report.facts import StudyFacts, read_facts
from search.report.make import REPORT_FILE, render_study, shown_files_changed_at
from search.report.metric import plural, study_metric
from search.report.pieces import Page
from search.report.signature import read_signature
from search.settings import Settings
from search.status import standing
from search.store.find import find_study
from search.store.storage import Storage
from search.watch.seldom import DrawSeldom, RankSeldom

STATUS_S = 0.5
"""Seconds for which a status that was read is shown to every reader."""
PAUSE_SHARE = 1.0
"""Seconds between two renderings for every second of processor time that the last one took, so that most of the
processor is left to the training."""
HEAD_BYTES = 2000
_STATE = re.compile(rb'<meta name="sieve-state" content="(\w*)">')
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class LiveStudy:
    """One study on the live page. Its methods may be called from any thread."""

    def __init__(self, settings: Settings, storage: Storage, study: str) -> None:
        self.study = study
        self._settings = settings
        self._storage = storage
        self._status_lock, self._render_lock = threading.Lock(), threading.Lock()
        self._status, self._status_at = "", -STATUS_S
        self._rank, self._draw = RankSeldom(), DrawSeldom()
        self._report: _Version | None = None
        self._facts: StudyFacts | None = None
        self._files_at = 0.0
        self._due_at = 0.0
        self._process = uuid.uuid4().hex[:8]

    def status(self) -> str:
        """The progress of the study as HTML: its stages, workers and GPUs, and the time left."""
        with self._status_lock:
            if time.monotonic() - self._status_at >= STATUS_S:
                self._status, self._status_at = self._read_status(), time.monotonic()
            return self._status

    def finished_report(self) -> Path | None:
        """The file `report.html` if the search is over and the file shows all that the database and the study's
        folder hold.
        """
        record = find_study(self._storage, self.study)
        path = names.study_folder(self._settings.home, self.study) / REPORT_FILE
        if record.state != "done" or not path.is_file():
            return None
        with path.open("rb") as file:
            found = _STATE.search(file.read(HEAD_BYTES))
        if found is None or found[1].decode() != read_signature(self._storage, record):
            return None
        return path if path.stat().st_mtime >= shown_files_changed_at(self._settings, self.study) else None

    def refresh(self, *, wait: bool = False) -> None:
        """Render the report if what it shows has changed since; without `wait`, only if that is due by now.

        While another thread renders, it returns at once; with `wait`, as soon as there is a report.
        """
        if not self._render_lock.acquire(blocking=wait and self._report is None):
            return
        try:
            if self._report is None or (time.monotonic() >= self._due_at and self._has_changed()):
                started_s = time.thread_time()
                page = self._render()
                self._report = _Version(page, self._report)
                self._due_at = time.monotonic() + PAUSE_SHARE * (time.thread_time() - started_s)
        finally:
            self._render_lock.release()

    def html(self) -> tuple[str, str]:
        """The report's page as it was rendered last, and its version."""
        self.refresh(wait=True)
        assert self._report is not None
        return self._report.page.html, self._name(self._report)

    def change_since(self, version: str) -> dict[str, Any] | None:
        """What has changed since that version of the report; None if nothing has.

        `parts` holds the HTML of each changed part, `order` all parts in their order, `figures` the changed figures as
        JSON text. An unknown version, for example of an earlier process, gets everything.
        """
        report = self._report
        if report is None or version == self._name(report):
            return None
        process, _, number = version.partition("-")
        since = int(number) if process == self._process and number.isdigit() else -1
        return {
            "version": self._name(report),
            "order": list(report.page.parts),
            "parts": {name: html for name, html in report.page.parts.items() if report.changed_at[name] > since},
            "figures": [text for name, text in report.page.figures.items() if report.changed_at[name] > since],
        }

    def _name(self, report: _Version) -> str:
        return f"{self._process}-{report.number}"

    def _has_changed(self) -> bool:
        return (
            self._rank.has_news
            or self._draw.is_due
            or self._facts is None
            or shown_files_changed_at(self._settings, self.study) != self._files_at
            or read_signature(self._storage, find_study(self._storage, self.study)) != self._facts.signature
        )

    def _render(self) -> Page:
        facts = read_facts(self._storage, self.study, self._facts)
        files_at = shown_files_changed_at(self._settings, self.study)  # First: a change in the meantime is seen later.
        self._rank.has_news = False
        page = render_study(self._settings, facts, rank=self._rank, draw=self._draw)
        self._facts, self._files_at = facts, files_at
        return page

    def _read_status(self) -> str:
        found = standing(self._storage, find_study(self._storage, self.study))
        begun = len(found.snapshot.stages)
        return TEMPLATES.get_template("status.html.j2").render(
            standing=found,
            stages=found.snapshot.stages,
            waiting=[stage.name for stage in found.record.definition.stages][begun:],
            metric=study_metric(found.record),
            gpus=read_gpus() if found.is_supervised else [],
            plural=plural,
        )


class _Version:
    """A rendered report that knows in which version each of its pieces changed last."""

    def __init__(self, page: Page, before: _Version | None) -> None:
        self.page = page
        self.number: int = before.number + 1 if before else 0
        known = {**before.page.parts, **before.page.figures} if before else {}
        self.changed_at: dict[str, int] = {
            name: before.changed_at[name] if before and known.get(name) == content else self.number
            for name, content in {**page.parts, **page.figures}.items()
        }
