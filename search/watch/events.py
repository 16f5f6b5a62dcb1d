"""Server-sent events: what an open page gets when something has changed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable

from search.store.retries import first_line
from search.watch.live_study import LiveStudy
from search.watch.study_list import StudyList

POLL_S = 0.5
"""Seconds between two checks of the database for one reader."""
KEEP_ALIVE_S = 15.0
"""Seconds after which a line is sent although nothing has changed, so that a lost reader is noticed."""


async def study_events(study: LiveStudy, version: str, is_stopping: Callable[[], bool]) -> AsyncIterator[str]:
    """The events of a study's page: `status`, `change`, `finished` and `trouble`.

    `version` is the version of the report that the reader has. `finished` is sent once the file `report.html` shows
    the finished study, and again when that file is written anew.
    """
    shown, finished, sent_at = "", 0.0, time.monotonic()
    rendering: asyncio.Future[None] | None = None
    while not is_stopping():
        sent = []
        try:
            if (status := await asyncio.to_thread(study.status)) != shown:
                shown = status
                sent.append(event("status", {"html": status}))
            path = await asyncio.to_thread(study.finished_report)
            if path is not None:
                if (written_at := path.stat().st_mtime) != finished:
                    finished = written_at
                    sent.append(event("finished", {}))
            elif rendering is None or rendering.done():
                if rendering is not None:
                    rendering.result()  # Raises what the rendering raised.
                rendering = asyncio.ensure_future(asyncio.to_thread(study.refresh))
            if path is None and (change := study.change_since(version)) is not None:
                version = str(change["version"])
                sent.append(event("change", change, version))
        except Exception as error:  # The page stays open during an outage, and says so.
            shown, rendering = "", None
            sent.append(event("trouble", {"line": first_line(error)}))
        if not sent and time.monotonic() - sent_at > KEEP_ALIVE_S:
            sent.append(": still here\n\n")
        for text in sent:
            sent_at = time.monotonic()
            yield text
        await _pause(study, version, rendering)


async def _pause(study: LiveStudy, version: str, rendering: asyncio.Future[None] | None) -> None:
    """Wait until the next check of the database is due; a page that is rendered in the meantime is sent at once."""
    until = time.monotonic() + POLL_S
    if rendering is not None and not rendering.done():
        await asyncio.wait({rendering}, timeout=POLL_S)
        if study.change_since(version) is not None:
            return
    await asyncio.sleep(until - time.monotonic())


async def list_events(listed: StudyList, is_stopping: Callable[[], bool]) -> AsyncIterator[str]:
    """The events of the first page: `rows` when the list has changed, and `trouble`."""
    shown, sent_at = "", time.monotonic()
    while not is_stopping():
        try:
            rows = await asyncio.to_thread(listed.rows)
            text = event("rows", {"html": rows}) if rows != shown else ""
            shown = rows
        except Exception as error:
            shown, text = "", event("trouble", {"line": first_line(error)})
        if not text and time.monotonic() - sent_at > KEEP_ALIVE_S:
            text = ": still here\n\n"
        if text:
            sent_at = time.monotonic()
            yield text
        await asyncio.sleep(2 * POLL_S)


def event(kind: str, content: object, name: str | None = None) -> str:
    """One server-sent event with JSON as its data; the browser sends `name` when it connects again."""
    lines = [f"event: {kind}", f"data: {json.dumps(content, separators=(',', ':'))}"]
    if name is not None:
        lines.append(f"id: {name}")
    return "\n".join(lines) + "\n\n"
