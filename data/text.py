"""Small pieces of English that notes, messages and reports share."""

from __future__ import annotations


def plural(count: int, noun: str) -> str:
    """`1 trial`, `12 trials`, `3,000 trials`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
