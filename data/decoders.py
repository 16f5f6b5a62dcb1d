"""Pictures of a set whose decoded form is too large to keep: decoded whenever they are asked for, by processes.

Processes, unlike for the cache: the one that trains holds its interpreter most of the time, and threads would wait for
it. They belong to the process that asks, end with it, and never see a GPU. What they decode comes through pipes, not
through shared memory, of which containers have little.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from data.arrays import IntArray, UInt8Array
from data.decode import PixelFormat, UnreadableImage, decode_file, pillow_warnings
from data.layout import ImageFile, Layout

_CHUNK = 32
"""Pictures that a process decodes at a time where rows are asked for all at once."""
_BATCHES_AHEAD = 2
"""For each process: bounds the memory that finished batches hold while the reader is busy."""


class StreamedPool:
    """A `Pool` that keeps no picture. Row n is the n-th file. Its processes start when it is first asked for one."""

    def __init__(
        self, *, layout: Layout, files: Sequence[ImageFile], pixel_format: PixelFormat, processes: int
    ) -> None:
        self.files = files
        self._decoding = _Decoding(layout, files, pixel_format)
        self._processes = processes
        self._decoders: list[_Decoder] = []
        weakref.finalize(self, _stop, self._decoders)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Pictures, height, width, channels."""
        return (len(self.files), *self._decoding.pixel_format.shape)

    def __getitem__(self, rows_N: IntArray) -> UInt8Array:
        """The pictures of these rows. Raises as `stream` does."""
        chunks = [rows_N[start : start + _CHUNK] for start in range(0, len(rows_N), _CHUNK)]
        return np.concatenate([np.empty((0, *self.shape[1:]), np.uint8), *self.stream(chunks)])

    def stream(self, batches: Sequence[IntArray]) -> Iterator[UInt8Array]:
        """The pictures of each batch of rows, in order; decoded ahead, a batch by one process.

        A stream ends when the next one begins. Raises UnreadableImage for a file that could be read when it was first
        decoded and cannot be any more, and RuntimeError if a process is killed.
        """
        decoders, asked = self._idle_decoders(), 0
        try:
            for turn in range(len(batches)):
                while asked < min(len(batches), turn + _BATCHES_AHEAD * len(decoders)):
                    decoders[asked % len(decoders)].ask(batches[asked])
                    asked += 1
                yield decoders[turn % len(decoders)].answer()
        except GeneratorExit:
            raise
        except BaseException:  # A signal may have come while an answer was half read: nobody may read the rest.
            _stop(self._decoders)
            raise

    def _idle_decoders(self) -> list[_Decoder]:
        """All processes, with no answer left that an earlier stream did not wait for."""
        if not self._decoders:
            self._decoders += [_Decoder(self._decoding) for _ in range(self._processes)]
        for decoder in self._decoders:
            while decoder.unanswered:
                decoder.answer()
        return self._decoders


@dataclass(frozen=True)
class _Decoding:
    """What a process knows: enough to decode any row."""

    layout: Layout
    files: Sequence[ImageFile]
    pixel_format: PixelFormat

    def __call__(self, rows_N: IntArray) -> UInt8Array:
        images_NHWC = np.empty((len(rows_N), *self.pixel_format.shape), dtype=np.uint8)
        with pillow_warnings():
            for image_HWC, row in zip(images_NHWC, rows_N, strict=True):
                image_HWC[...] = decode_file(self.layout.read, self.files[row].name, self.pixel_format)
        return images_NHWC


class _Decoder:
    """A process that decodes batches in the order in which it is asked for them."""

    def __init__(self, decoding: _Decoding) -> None:
        self.unanswered = 0
        self._connection, other_end = multiprocessing.Pipe()
        self._process = multiprocessing.Process(
            target=_decode_for, args=(other_end, decoding), name="sieve-decoder", daemon=True
        )
        self._process.start()
        other_end.close()

    def ask(self, rows_N: IntArray) -> None:
        with _telling_of_its_death():
            self._connection.send(rows_N)
        self.unanswered += 1

    def answer(self) -> UInt8Array:
        with _telling_of_its_death():
            answer: UInt8Array | UnreadableImage = self._connection.recv()
        self.unanswered -= 1
        if isinstance(answer, UnreadableImage):
            raise answer
        return answer

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


@contextmanager
def _telling_of_its_death() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise RuntimeError("a process that decodes images was killed; is there enough memory?") from error


def _stop(decoders: list[_Decoder]) -> None:
    for decoder in decoders:
        decoder.stop()
    decoders.clear()


def _decode_for(connection: Connection, decoding: _Decoding) -> None:
    """The process's work, until its reader is gone."""
    # Whatever else was open at the fork: ends of the other pipes, which would outlive their readers, and locks.
    os.closerange(3, connection.fileno())
    os.closerange(connection.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    # What its reader does on a signal is not for this process, and Ctrl-C in a terminal reaches both.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            rows_N = connection.recv()
            try:
                answer: UInt8Array | UnreadableImage = decoding(rows_N)
            except UnreadableImage as error:
                answer = error
            connection.send(answer)
        except (EOFError, ConnectionError):
            return
