"""A video as a source of frames, read with PyAV (extra `video`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from data.arrays import UInt8Array
from data.errors import UserError
from search.detect.media import Frame, Medium

RATE_IF_UNKNOWN = Fraction(25)
"""Frames per second of a video that does not state its rate."""


class Video(Medium):
    """Every `every`-th frame of a video; the result is an H.264 video with the original speed."""

    def __init__(self, path: Path, every: int) -> None:
        self.source = path
        self._every = every
        self.unreadable = {}
        with self._reasons():
            self._source = av.open(str(path))
        if not self._source.streams.video:
            raise UserError(f"{path}: this file holds no video; give a video, a picture or a folder of pictures")
        self._stream = self._source.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.total = -(-self._stream.frames // every)
        self._rate = Fraction(self._stream.average_rate or RATE_IF_UNKNOWN)
        self._output: av.container.OutputContainer | None = None

    def frames(self) -> Iterator[Frame]:
        """Yield every n-th frame with its time in seconds. Raises UserError if no frame can be decoded."""
        seen = 0
        with self._reasons():
            for number, frame in enumerate(self._source.decode(self._stream)):
                if number % self._every == 0:
                    time_s = frame.time if frame.time is not None else float(number / self._rate)
                    yield Frame(name=self.source.name, time_s=time_s, pixels_HWC=_upright(frame))
                    seen += 1
        if not seen:
            raise UserError(f"{self.source}: no frame can be read")

    def write(self, frame: Frame, drawn_HWC: UInt8Array, folder: Path) -> None:
        """Append a frame with its drawn boxes to the video in `folder`; odd sides lose their last row or column."""
        height, width = (side - side % 2 for side in drawn_HWC.shape[:2])  # H.264 needs even sides.
        if self._output is None:
            self._output = av.open(str(folder / f"{self.source.stem}.mp4"), "w")
            self._track = self._output.add_stream("libx264", rate=self._rate / self._every)
            self._track.width, self._track.height, self._track.pix_fmt = width, height, "yuv420p"
        pixels = np.ascontiguousarray(drawn_HWC[:height, :width])
        self._output.mux(self._track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))

    def close(self) -> None:
        """Finish the output video, if one was started, and release the source."""
        self._source.close()
        if self._output is not None:
            self._output.mux(self._track.encode())
            self._output.close()

    @contextmanager
    def _reasons(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise UserError(f"{self.source}: cannot be read as a picture or video: {error.strerror}") from error


def _upright(frame: av.VideoFrame) -> UInt8Array:
    """The frame as RGB, rotated by the angle that the video states, as players do."""
    pixels_HWC = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    return np.ascontiguousarray(np.rot90(pixels_HWC, round(frame.rotation / 90)))
