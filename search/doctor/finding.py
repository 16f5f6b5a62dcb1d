"""One line of what the doctor has to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "broken"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    about: str
    """`disk`, `storage`, `trials`, `tracking`, `registry`, `seal`, `checkpoints`, `cache` or `devices`."""
    state: State
    text: str
    mend: str | None = None
    """A command, or words where no command does it; None where nothing has to be done."""


def ok(about: str, text: str) -> Finding:
    """As it should be."""
    return Finding(about=about, state="ok", text=text)


def warning(about: str, text: str, mend: str) -> Finding:
    """Harms nothing yet, or mends itself."""
    return Finding(about=about, state="warning", text=text, mend=mend)


def broken(about: str, text: str, mend: str) -> Finding:
    """Has to be mended before a search can go on."""
    return Finding(about=about, state="broken", text=text, mend=mend)


def command(module: str, *arguments: str) -> str:
    """What to type."""
    return " ".join(["python -m", f"search.{module}", *arguments])
