"""Store results in `benchmarks/results`: one JSON file each, with the machine and versions of the measurement."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

FOLDER = Path(__file__).with_name("results")


def write_result(name: str, result: Mapping[str, Any], folder: Path = FOLDER, *, indent: int | None = 1) -> Path:
    """Write a result to `NAME.json` in `benchmarks/results` or another folder, and replace an earlier result."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    stored = {**result, "measured_on": time.strftime("%Y-%m-%d"), "machine": describe_machine()}
    path.write_text(json.dumps(stored, indent=indent, ensure_ascii=False) + "\n")
    return path


def read_result(name: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    """Read a stored result; None if there is none of that name."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    stored: dict[str, Any] = json.loads(path.read_text())
    return stored
