"""Small pieces of English that notes, messages and reports share."""

from __future__ import annotations

from collections.abc import Sequence

_LISTED = 5
"""Names in a message before the others are only counted."""


def plural(count: int, noun: str) -> str:
    """`1 trial`, `12 trials`, `3,000 trials`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str], shown: int = _LISTED) -> str:
    """The first `shown` names, and the number of the others: `a.png, b.png and 3 more`."""
    head = ", ".join(map(shown_name, names[:shown]))
    return head if len(names) <= shown else f"{head} and {len(names) - shown:,} more"


def shown_name(name: str) -> str:
    """The name with bytes that are not UTF-8 in hex, so that it can be printed and stored."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """The text in one line: line breaks and other control characters, e.g. of a folder's name, as their codes."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
