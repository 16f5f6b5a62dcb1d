"""What is looked at, and where the looked-at goes: a folder of pictures, or the frames of a video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data.arrays import UInt8Array
from data.decode import UnreadableImage, decode_whole
from data.errors import UserError
from data.find_pictures import find_pictures

JPEG_QUALITY = 92


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture, or one frame of a video."""

    name: str
    """A picture's path below its folder; a video's name."""
    time_s: float | None
    """Of a frame in its video."""
    pixels_HWC: UInt8Array


class Medium(ABC):
    """A source of frames that takes each back with boxes drawn into it."""

    source: Path
    total: int
    """Frames; 0 where the source does not say."""
    unreadable: dict[str, str]
    """Pictures that could not be read so far, and why."""

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """The frames in order. Raises UserError if not one of them can be read."""

    @abstractmethod
    def write(self, frame: Frame, drawn_HWC: UInt8Array, folder: Path) -> None:
        """Keep a frame as it was drawn, below `folder`; called for each before the next is read."""

    @abstractmethod
    def close(self) -> None:
        """All frames were written, or no more will be."""


class Pictures(Medium):
    """A picture, or all pictures below a folder."""

    def __init__(self, place: Path) -> None:
        self.source = place
        self._root = place if place.is_dir() else place.parent
        self._paths = find_pictures([place])
        self.total = len(self._paths)
        self.unreadable = {}

    def frames(self) -> Iterator[Frame]:
        for path in self._paths:
            name = path.relative_to(self._root).as_posix()
            try:
                yield Frame(name=name, time_s=None, pixels_HWC=decode_whole(path.read_bytes()))
            except UnreadableImage as error:
                self.unreadable[name] = str(error)
            except OSError as error:
                self.unreadable[name] = error.strerror or str(error)
        if len(self.unreadable) == self.total:
            name, reason = next(iter(self.unreadable.items()))
            raise UserError(f"{self._root / name}: {reason}; none of {self.total} pictures can be read")

    def write(self, frame: Frame, drawn_HWC: UInt8Array, folder: Path) -> None:
        suffix = "" if frame.name.lower().endswith((".jpg", ".jpeg")) else ".jpg"
        path = folder / f"{frame.name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn_HWC).save(path, "JPEG", quality=JPEG_QUALITY)

    def close(self) -> None:
        """Nothing is held open between two pictures."""
