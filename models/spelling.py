"""Suggestions for misspelled names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that follows an error message: the most similar known name, or all names if none is similar."""
    names = sorted(known)
    near = nearest(name, names)
    return f" Did you mean {near!r}?" if near else f" Known: {', '.join(names)}"


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The most similar known name; None if none is similar. Names that differ only in capitals count as similar."""
    near = get_close_matches(name, known, n=1) or [one for one in known if one.lower() == name.lower()]
    return near[0] if near else None
