"""What a process does with the files of a data set: reads each once, hashes it, and later decodes it."""

from __future__ import annotations

import hashlib
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.arrays import IntArray
from data.bulk import decode_chunks
from data.decode import Header, PixelFormat, PixelRule, UnreadableImage, pillow_warnings, read_header, read_range
from data.layout import FolderReader


class Examined(NamedTuple):
    """What the first reading of a file gives."""

    content_hash: str
    """BLAKE2b, 128 bits in hex."""
    header: Header | None
    """None for a file that is no picture, or whose header was not asked for."""


class Target(NamedTuple):
    """Where decoded pictures are written to."""

    path: Path
    """A file that exists and is long enough."""
    offset: int
    """Bytes before the first of the pictures."""


class Decoded(NamedTuple):
    """Some consecutive pictures, which have been written where they belong."""

    sums_N2C: IntArray
    """As in `data.pixels.Pixels`."""
    unreadable: dict[str, str]
    """Name -> reason."""


class FileReader:
    """Reads files by name, and keeps their contents until they are decoded, as long as there is room."""

    def __init__(self, read: Callable[[str], bytes], room_bytes: int) -> None:
        self._read_anew = read
        self._room_bytes = room_bytes
        self._kept: dict[str, bytes] = {}

    def examine(self, names: Sequence[str], *, decoded_later: bool) -> list[Examined | OSError]:
        """Read files for the first time; their headers are read and their contents kept if they may be decoded later.

        A file that cannot be read gives the error.
        """
        return [self._examine(name, decoded_later) for name in names]

    def _examine(self, name: str, decoded_later: bool) -> Examined | OSError:
        try:
            content = self._read_anew(name)
        except OSError as error:
            return error
        content_hash = hashlib.blake2b(content, digest_size=16).hexdigest()
        if decoded_later and len(content) <= self._room_bytes:
            self._room_bytes -= len(content)
            self._kept[name] = content
        return Examined(content_hash, _header(content) if decoded_later else None)

    def headers(self, names: Sequence[str]) -> list[Header | None]:
        """The headers of pictures; None for a file that cannot be read, which is reported when it is decoded."""
        headers = []
        for name in names:
            try:
                headers.append(_header(self._kept.get(name) or self._read_anew(name)))
            except OSError:
                headers.append(None)
        return headers

    def ranges(self, names: Sequence[str], rule: PixelRule) -> list[tuple[float, float] | None]:
        """The least and largest value of each picture of wide values; None for any other."""
        ranges = []
        for name in names:
            try:
                ranges.append(read_range(self._kept.get(name) or self._read_anew(name), rule))
            except OSError:
                ranges.append(None)
        return ranges

    def decode(self, names: Sequence[str], pixel_format: PixelFormat, target: Target | None) -> Decoded:
        """Decode pictures and write them to the target, if there is one. Raises OSError where it cannot be written."""
        sums: list[IntArray] = []
        unreadable: dict[str, str] = {}
        # Written, not mapped: a full disk is then an error to report, and not a bus error that ends the process.
        stream = None if target is None else target.path.open("r+b", buffering=0)
        try:
            if stream and target:
                stream.seek(target.offset)
            for chunk in decode_chunks(self._take, names, pixel_format):
                if stream:
                    _write_all(stream.write, chunk.images_NHWC.data.cast("B"))
                sums.append(chunk.sums_N2C)
                unreadable |= chunk.unreadable
        finally:
            if stream:
                stream.close()
        return Decoded(np.concatenate(sums), unreadable)

    def _take(self, name: str) -> bytes:
        content = self._kept.pop(name, None)
        if content is None:
            return self._read_anew(name)
        self._room_bytes += len(content)
        return content


def _header(content: bytes) -> Header | None:
    try:
        return read_header(content)
    except UnreadableImage:
        return None


def _write_all(write: Callable[[memoryview], int], values: memoryview) -> None:
    """An unbuffered stream may write less than it is given."""
    while values:
        values = values[write(values) :]


def serve() -> None:
    """A process's life: calls of a `FileReader`'s methods come through stdin, answers go through stdout, pickled.

    The first value is the root of the files and the bytes that contents may take. It ends when stdin is closed, also by
    the death of the process that reads the answers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both, and the other one decides.
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # Whatever a library prints must not come between the answers.
    with pillow_warnings():
        root, room_bytes = pickle.load(questions)
        reader = FileReader(FolderReader(root), room_bytes)
        while True:
            try:
                method, arguments = pickle.load(questions)
            except EOFError:
                return
            answer: object
            try:
                answer = getattr(reader, method)(**arguments)
            except Exception as error:
                answer = error
            pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
            answers.flush()
