"""One finding of the doctor, and its three kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "broken"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was checked, its state, and how to repair it."""

    about: str
    """The thing that was checked, such as `storage` or `devices`."""
    state: State
    text: str
    mend: str | None = None
    """A command, or a sentence where no command does it; None where nothing has to be done."""


def ok(about: str, text: str) -> Finding:
    """A finding without a problem."""
    return Finding(about=about, state="ok", text=text)


def warning(about: str, text: str, mend: str) -> Finding:
    """A finding that does no harm yet, or that the next search repairs."""
    return Finding(about=about, state="warning", text=text, mend=mend)


def broken(about: str, text: str, mend: str) -> Finding:
    """A finding that has to be repaired before a search can continue."""
    return Finding(about=about, state="broken", text=text, mend=mend)


def command(name: str, *arguments: str) -> str:
    """The command line of a command of Sieve."""
    return " ".join(["sieve", name, *arguments])
