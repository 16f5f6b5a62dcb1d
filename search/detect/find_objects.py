"""Runs a detector on a picture, a folder of pictures, or a video, and writes the complete result or nothing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.ignored import image_suffixes
from data.outputs import output_folder
from data.progress import Progress
from models.detector import Detector
from search.detect.boxes import draw_detections
from search.detect.counts import Count, ObjectCounts
from search.detect.media import Medium, Pictures


@dataclass(frozen=True, kw_only=True)
class Found:
    """The result for a source."""

    source: str
    output: str
    """Path of the folder that holds the results."""
    pictures: int
    """Number of pictures or frames that were processed."""
    counts: dict[str, Count]
    """Counts of each class, as `ObjectCounts.counts` returns them."""
    unreadable: dict[str, str]
    """The reason for each picture that could not be read."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as a dict for JSON."""
        return asdict(self)


def open_medium(source: Path, every: int = 1) -> Medium:
    """Open a source: a folder or an image file as pictures, any other file as a video with every `every`-th frame.

    Raises UserError if the source does not exist or cannot be read, or if the extra `video` is missing.
    """
    if not source.is_file() or source.suffix.lower() in image_suffixes():
        return Pictures(source)
    try:
        from search.detect.video import Video
    except ModuleNotFoundError:
        raise UserError(f"{source}: a video needs another package; pip install 'sieve-search[video]'") from None
    return Video(source, every)


def detect(medium: Medium, detector: Detector, folder: Path, *, threshold: float, progress: Progress) -> Found:
    """Find objects in every frame and write pictures with boxes, `detections.csv` and `counts.csv` to `folder`.

    The results replace those of an earlier call. Raises UserError if no frame can be read, and the errors of
    `output_folder`.
    """
    pictures = 0
    with output_folder(folder) as part, closing(medium), closing(ObjectCounts(part)) as counts:
        for frame in medium.frames():
            found = detector.detect(frame.pixels_HWC, threshold=threshold)
            counts.add(frame, found)
            medium.write(frame, draw_detections(frame.pixels_HWC, found), part)
            pictures += 1
            progress(f"detecting in {medium.source.name}", pictures + len(medium.unreadable), medium.total)
        counts.write_counts()
    return Found(
        source=str(medium.source),
        output=str(folder),
        pictures=pictures,
        counts=counts.counts(),
        unreadable=medium.unreadable,
    )
