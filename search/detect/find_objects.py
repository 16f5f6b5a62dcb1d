"""A detector taken over a picture, a folder of pictures, or a video; the result appears whole or not at all."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.layout import IMAGE_SUFFIXES
from data.outputs import output_folder
from data.progress import Progress
from models.detector import Detector
from search.detect.boxes import draw_detections
from search.detect.counts import Count, Tally
from search.detect.media import Medium, Pictures


@dataclass(frozen=True, kw_only=True)
class Found:
    """What `--json` prints of a source."""

    source: str
    output: str
    pictures: int
    """Pictures, or frames of a video, that were looked at."""
    counts: dict[str, Count]
    unreadable: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def open_medium(source: Path, every: int = 1) -> Medium:
    """A folder and a file with the ending of a picture are pictures; of any other file, every `every`-th frame.

    Raises UserError if there is no such source, if it is not what it should be, or if the extra `video` is missing.
    """
    if not source.is_file() or source.suffix.lower() in IMAGE_SUFFIXES:
        return Pictures(source)
    try:
        from search.detect.video import Video
    except ModuleNotFoundError:
        raise UserError(
            f"{source}: reading a video needs one more package: pip install 'sieve-search[video]'"
        ) from None
    return Video(source, every)


def detect(medium: Medium, detector: Detector, folder: Path, *, threshold: float, progress: Progress) -> Found:
    """Find objects in every frame and write drawn pictures, `detections.csv` and `counts.csv` to `folder`.

    What an earlier call wrote there is replaced. Raises UserError if no frame can be read, or as `output_folder` does.
    """
    pictures = 0
    with output_folder(folder) as part, closing(medium), closing(Tally(part)) as tally:
        for frame in medium.frames():
            found = detector.detect(frame.pixels_HWC, threshold=threshold)
            tally.add(frame, found)
            medium.write(frame, draw_detections(frame.pixels_HWC, found), part)
            pictures += 1
            progress(f"looking at {medium.source.name}", pictures + len(medium.unreadable), medium.total)
        tally.write_counts()
    return Found(
        source=str(medium.source),
        output=str(folder),
        pictures=pictures,
        counts=tally.counts(),
        unreadable=medium.unreadable,
    )
