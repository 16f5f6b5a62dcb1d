"""Sources of frames: pictures here, a video in `video`. A source also writes the frames with boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data.arrays import UInt8Array
from data.decode import UnreadableImage, decode_whole, pillow_warnings
from data.errors import UserError
from data.find_pictures import find_pictures

JPEG_QUALITY = 92


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture, or one frame of a video."""

    name: str
    """Path of the picture below its folder, or name of the video."""
    time_s: float | None
    """Time of the frame in its video, in seconds; None for a picture."""
    pixels_HWC: UInt8Array
    """RGB pixels."""


class Medium(ABC):
    """A source of frames that also writes each frame after boxes were drawn into it."""

    source: Path
    total: int
    """Number of frames; 0 if the source does not state it."""
    unreadable: dict[str, str]
    """The reason for each picture that could not be read so far."""

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """The frames in order. Raises UserError if none of them can be read."""

    @abstractmethod
    def write(self, frame: Frame, drawn_HWC: UInt8Array, folder: Path) -> None:
        """Write a frame with its boxes below `folder`; called for each frame before the next is read."""

    @abstractmethod
    def close(self) -> None:
        """Release the source after its last frame, or after an error."""


class Pictures(Medium):
    """A picture, or all pictures below a folder."""

    def __init__(self, place: Path) -> None:
        self.source = place
        self._root = place if place.is_dir() else place.parent
        self._paths = find_pictures([place])
        self.total = len(self._paths)
        self.unreadable = {}

    def frames(self) -> Iterator[Frame]:
        """Yield each picture as a frame; unreadable pictures are skipped. Raises UserError if none can be read."""
        for path in self._paths:
            name = path.relative_to(self._root).as_posix()
            try:
                yield Frame(name=name, time_s=None, pixels_HWC=_decoded(path))
            except UnreadableImage as error:
                self.unreadable[name] = str(error)
            except OSError as error:
                self.unreadable[name] = error.strerror or str(error)
        if len(self.unreadable) == self.total:
            name, reason = next(iter(self.unreadable.items()))
            raise UserError(f"{self._root / name}: {reason}; none of {self.total} pictures can be read")

    def write(self, frame: Frame, drawn_HWC: UInt8Array, folder: Path) -> None:
        """Save a picture with its drawn boxes as JPEG below `folder`, under its own relative path."""
        suffix = "" if frame.name.lower().endswith((".jpg", ".jpeg")) else ".jpg"
        path = folder / f"{frame.name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn_HWC).save(path, "JPEG", quality=JPEG_QUALITY)

    def close(self) -> None:
        """Do nothing: no file stays open between two pictures."""


def _decoded(path: Path) -> UInt8Array:
    with pillow_warnings():
        return decode_whole(path.read_bytes())
