"""Durations as people type them."""

from __future__ import annotations

import re

from data.errors import UserError

MAX_S = 365 * 86400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str, what: str) -> float:
    """Seconds of `90s`, `10m`, `1h30m`, `2h`, `1d`; UserError, which names the option in `what`, for anything else."""
    written = text.strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", written)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != written or not 0 < seconds <= MAX_S:
        raise UserError(f"{what} {text!r} is no duration of at most a year; write 90s, 10m, 2h or 1h30m")
    return seconds


def show_duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
