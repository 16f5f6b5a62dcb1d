"""The nearest spelling of a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that follows an error message: the nearest known name, or all of them if none is near."""
    names = sorted(known)
    near = nearest(name, names)
    return f" Did you mean {near!r}?" if near else f" Known: {', '.join(names)}"


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that is nearest, if one is near or differs in capitals alone."""
    near = get_close_matches(name, known, n=1) or [one for one in known if one.lower() == name.lower()]
    return near[0] if near else None
