"""The detected objects as two CSV files: each object, and the number of objects of each class."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from models.detector import Detection
from search.detect.media import Frame

COUNTS_FILE = "counts.csv"
DETECTIONS_FILE = "detections.csv"
Count = dict[str, int]


class ObjectCounts:
    """Counts objects by class, and writes each object to `detections.csv` in `folder` immediately."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._objects: Counter[str] = Counter()
        self._pictures: Counter[str] = Counter()
        self._most: Counter[str] = Counter()
        self._file = (folder / DETECTIONS_FILE).open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._rows.writerow(("picture", "time_s", "class", "score", "left", "top", "right", "bottom"))

    def add(self, frame: Frame, found: Sequence[Detection]) -> None:
        """Add the objects of one picture or frame."""
        time_s = "" if frame.time_s is None else f"{frame.time_s:.3f}"
        for one in found:
            box = (f"{pixel:.1f}" for pixel in one.box)
            self._rows.writerow((frame.name, time_s, one.label, f"{one.score:.4f}", *box))
        here = Counter(one.label for one in found)
        self._objects.update(here)
        self._pictures.update(here.keys())
        self._most |= here

    def counts(self) -> dict[str, Count]:
        """For each class, most frequent first: number of objects, number of pictures with one, and most objects in a
        picture.

        In a video, an object counts once for each frame that shows it.
        """
        return {
            label: {"objects": objects, "pictures": self._pictures[label], "most_in_one": self._most[label]}
            for label, objects in self._objects.most_common()
        }

    def write_counts(self) -> None:
        """Write `counts.csv`."""
        with (self._folder / COUNTS_FILE).open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("class", "objects", "pictures", "most_in_one"))
            rows.writerows((label, *count.values()) for label, count in self.counts().items())

    def close(self) -> None:
        """Close `detections.csv` after the last picture."""
        self._file.close()
