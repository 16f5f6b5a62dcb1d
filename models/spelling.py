"""The nearest spelling of a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that follows an error message: the nearest known name, or all of them if none is near."""
    names = sorted(known)
    nearest = get_close_matches(name, names, n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else f" Known: {', '.join(names)}"
