"""Small pieces of English that messages and reports share."""

from __future__ import annotations

from datetime import UTC, datetime

from data.text import plural as plural


def show_when(seconds: float) -> str:
    """A time in seconds since the epoch, to the minute, e.g. `2026-11-27 12:44 UTC`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
