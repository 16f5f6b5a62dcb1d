"""The search that faults fall on."""

from __future__ import annotations

from pathlib import Path

STUDY = "eleven"
STUDY_FILE = Path(__file__).parents[1] / "study_files" / "eleven.py"
PLANNED = {"eleven/1-wide": 5, "eleven/2-near": 4, "eleven/confirm": 2}
TRIALS = sum(PLANNED.values())
EPOCHS = [1, 2]
