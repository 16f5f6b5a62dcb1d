"""Durations as people type and read them, e.g. `1h30m`."""

from __future__ import annotations

import re

from data.errors import UserError

MAX_S = 365 * 86400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str, what: str) -> float:
    """The seconds that `90s`, `10m`, `1h30m`, `2h` or `1d` stand for.

    Raises UserError for anything else, and for more than a year; its message begins with `what`, e.g. `--budget`.
    """
    written = text.strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", written)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != written or not 0 < seconds <= MAX_S:
        raise UserError(f"{what} {text!r} is not a duration of at most a year; write e.g. 90s, 10m, 2h or 1h30m")
    return seconds


def show_duration(seconds: float) -> str:
    """Text for a duration, e.g. `45 s`, `3 min 20 s` or `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
