"""Reads all files of a data set at once, on all cores, each file once if there is room for its content.

Large sets are read by processes. In threads, small pictures wait for the interpreter and not for their decoding: on two
cores 50,000 JPEGs of 32 px took 7.8 s in four threads, of which one core alone needs 4. The processes are not
multiprocessing's, which import their parent's main module (torch and all) before they decode a picture.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby, takewhile
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from data.decode import Header, PixelFormat, PixelRule, pillow_warnings
from data.file_reader import Decoded, Examined, FileReader, Target
from data.layout import ImageFile, Layout
from data.parallel import cpu_cores
from data.progress import Progress

_CHUNK = 64
"""Files that a process works on at a time."""
_FILES_A_PROCESS, _BYTES_A_PROCESS = 500, 4 * 2**20
"""Fewer are read sooner than another process has started, which takes 0.2 s."""
_FEWEST = 2
"""Processes, where any pay: one core, too, can decode while a network drive is waited for."""
_ROOM_BYTES = 2**30
"""Contents kept by all processes together. Larger sets are in part read again when they are decoded."""
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from data.file_reader import serve; serve()"


class _Chunk(NamedTuple):
    """Files next to each other in what is worked on, all of them one process's."""

    owner: int
    start: int
    """How many files come before it."""
    names: list[str]


class Readers:
    """The files of a layout, as one object that hashes and decodes them. Processes start when they pay.

    Use as a context manager; all methods raise what the processes raise, and RuntimeError if one of those is killed.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._headers: dict[str, Header | None] = {}
        self._here = FileReader(layout.read, _ROOM_BYTES)
        self._processes: list[_Process] = []

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the processes, and let go of all contents."""
        for process in self._processes:
            process.stop()
        self._processes.clear()
        self._here = FileReader(self.layout.read, _ROOM_BYTES)

    def hash_contents(self, files: Sequence[ImageFile], progress: Progress | None = None) -> dict[str, str]:
        """Name -> hash of the content. Raises OSError for the first of the files that cannot be read."""
        examined: list[Examined | OSError] = [OSError()] * len(files)
        searched = {file.name for file in files if file.part != "test"}

        def arguments(chunk: _Chunk) -> dict[str, Any]:
            return {"names": chunk.names, "decoded_later": chunk.names[0] in searched}

        chunks = self._chunks(files, lambda file: file.part == "test")
        for chunk, answer in self._map("examine", arguments, files, chunks, "reading files", progress):
            examined[chunk.start : chunk.start + len(chunk.names)] = answer
        hashes = {}
        for file, found in zip(files, examined, strict=True):
            if isinstance(found, OSError):
                raise found
            hashes[file.name] = found.content_hash
            if file.name in searched:
                self._headers[file.name] = found.header
        return hashes

    def headers(self, files: Sequence[ImageFile], progress: Progress | None = None) -> Generator[Header]:
        """The headers of those files that are pictures, in no particular order; read as they are asked for."""
        known = [file for file in files if file.name in self._headers]
        yield from (header for file in known if (header := self._headers[file.name]))
        unknown = [file for file in files if file.name not in self._headers]

        def arguments(chunk: _Chunk) -> dict[str, Any]:
            return {"names": chunk.names}

        for _, found in self._map("headers", arguments, unknown, self._chunks(unknown), "reading headers", progress):
            yield from filter(None, found)

    def value_range(
        self, files: Sequence[ImageFile], rule: PixelRule, progress: Progress | None = None
    ) -> tuple[float, float] | None:
        """The least and largest value in all pictures of wide values; None where there is none."""
        found: list[tuple[float, float]] = []

        def arguments(chunk: _Chunk) -> dict[str, Any]:
            return {"names": chunk.names, "rule": rule}

        for _, answer in self._map("ranges", arguments, files, self._chunks(files), "reading value ranges", progress):
            found += filter(None, answer)
        return (min(low for low, _ in found), max(high for _, high in found)) if found else None

    def decode(
        self,
        files: Sequence[ImageFile],
        pixel_format: PixelFormat,
        target: Target | None,
        progress: Progress | None = None,
    ) -> Decoded:
        """Decode files; written to the target, if there is one, row after row. Unreadable ones are black there."""
        sums_N2C = np.zeros((len(files), 2, pixel_format.channels), dtype=np.int64)
        reasons: dict[str, str] = {}
        row_bytes = math.prod(pixel_format.shape)

        def arguments(chunk: _Chunk) -> dict[str, Any]:
            at = target and Target(target.path, target.offset + chunk.start * row_bytes)
            return {"names": chunk.names, "pixel_format": pixel_format, "target": at}

        for chunk, answer in self._map("decode", arguments, files, self._chunks(files), "decoding images", progress):
            sums_N2C[chunk.start : chunk.start + len(chunk.names)] = answer.sums_N2C
            reasons |= answer.unreadable
        return Decoded(sums_N2C, {file.name: reasons[file.name] for file in files if file.name in reasons})

    def _chunks(
        self, files: Sequence[ImageFile], kind: Callable[[ImageFile], object] = lambda file: None
    ) -> list[_Chunk]:
        """Divide files so that a file is the same process's whenever it is asked for, and each chunk is of one kind."""
        chunks, start = [], 0
        number_of = {file.name: number for number, file in enumerate(self.layout.files)} if files else {}
        for (number, _), group in groupby(files, lambda file: (number_of[file.name] // _CHUNK, kind(file))):
            names = [file.name for file in group]
            chunks.append(_Chunk(number, start, names))
            start += len(names)
        return chunks

    def _map(
        self,
        method: str,
        arguments: Callable[[_Chunk], dict[str, Any]],
        files: Sequence[ImageFile],
        chunks: Sequence[_Chunk],
        label: str,
        progress: Progress | None,
    ) -> Iterator[tuple[_Chunk, Any]]:
        """Call a method of `FileReader` for each chunk, by its owner; answers come as they are ready."""
        self._start_processes(files)
        call = self._call_processes if self._processes else self._call_here
        done = 0
        for chunk, answer in call(method, arguments, chunks):
            yield chunk, answer
            done += len(chunk.names)
            if progress:
                progress(label, done, len(files))

    def _call_here(
        self, method: str, arguments: Callable[[_Chunk], dict[str, Any]], chunks: Sequence[_Chunk]
    ) -> Iterator[tuple[_Chunk, Any]]:
        with pillow_warnings():
            for chunk in chunks:
                yield chunk, getattr(self._here, method)(**arguments(chunk))

    def _call_processes(
        self, method: str, arguments: Callable[[_Chunk], dict[str, Any]], chunks: Sequence[_Chunk]
    ) -> Iterator[tuple[_Chunk, Any]]:
        answers: SimpleQueue[tuple[_Chunk, Any] | Exception] = SimpleQueue()
        is_over = False

        def work(number: int, process: _Process) -> None:
            own = (chunk for chunk in chunks if chunk.owner % len(self._processes) == number)
            try:
                for chunk in takewhile(lambda _: not is_over, own):
                    answers.put((chunk, process.call(method, arguments(chunk))))
            except Exception as error:
                answers.put(error)

        with ThreadPoolExecutor(len(self._processes), thread_name_prefix="sieve-data") as threads:
            for number, process in enumerate(self._processes):
                threads.submit(work, number, process)
            try:
                for _ in chunks:
                    answer = answers.get()
                    if isinstance(answer, Exception):
                        raise answer
                    yield answer
            finally:  # Also where the caller stops early: the processes then end no more than the chunk they are at.
                is_over = True

    def _start_processes(self, files: Sequence[ImageFile]) -> None:
        if self._processes or not isinstance(self.layout.root, Path):
            return
        size_bytes = sum(file.size_bytes for file in files)
        count = min(max(_FEWEST, cpu_cores()), max(len(files) // _FILES_A_PROCESS, size_bytes // _BYTES_A_PROCESS))
        if count >= _FEWEST:
            self._processes = [_Process(self.layout.root, _ROOM_BYTES // count) for _ in range(count)]


class _Process:
    """A process that works for this one, see `data.file_reader.serve`."""

    def __init__(self, root: Path, room_bytes: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # There is nothing to multiply, and threads of their own would take the other processes' cores.
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._ask((root, room_bytes))

    def call(self, method: str, arguments: dict[str, Any]) -> Any:
        """The answer of a `FileReader`'s method. Raises what the method raised."""
        self._ask((method, arguments))
        assert self._process.stdout is not None
        try:
            answer = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError, ValueError) as error:
            raise RuntimeError("a process that reads images was killed; is there enough memory?") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ask(self, question: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # It was killed; there will be no answer either.
            pickle.dump(question, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # What a killed process did not read any more.
                stream.close()  # type: ignore[union-attr]
