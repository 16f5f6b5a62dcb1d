"""The decoded pictures of a data set: one uncompressed array on disk that every process maps read-only.

Where that would take too much of the disk, pictures are decoded whenever they are asked for. Only the list of
unreadable pictures and the sums for their statistics are then kept.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.arrays import IntArray, Pool, UInt8Array
from data.bulk import check_unreadable
from data.decode import DECODER_VERSION, PixelFormat
from data.decoders import StreamedPool
from data.errors import UserError
from data.file_reader import Target
from data.files import CacheLimit, locked, read_json, show_bytes, write_json, writing_below
from data.layout import ImageFile
from data.parallel import cpu_cores
from data.progress import Progress
from data.readers import Readers
from data.text import plural

_FREE_SHARE = 0.5
"""Of what the disk has free that decoded pictures may take by default. Memory sets no limit: what the
system has to read from the disk costs no core, and a photograph that is decoded 3 to 6 ms of one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """Row n belongs to the n-th file; the rows of unreadable files are black and must not be used."""

    pool_NHWC: Pool
    sums_N2C: IntArray
    """Per picture and channel: the sum of its values, and of their squares. Exact integers."""
    unreadable: dict[str, str]
    """Name -> reason."""
    note: str
    """Whether the pictures are kept, and why: one line for people."""


def open_pixels(
    readers: Readers,
    files: Sequence[ImageFile],
    fingerprint: str,
    pixel_format: PixelFormat,
    cache_home: Path,
    progress: Progress | None = None,
    limit: CacheLimit | None = None,
    rule_key: str = "",
) -> Pixels:
    """The pictures of `files`, whose fingerprint is given: decoded where no process has yet and mapped, or a pool that
    decodes them whenever they are asked for, where they would take more than the limit.

    `rule_key` distinguishes the pixel rules under which these pictures differ; it is empty where none matters and the
    limit on pixels is the default.

    Raises UserError where the disk is full or read-only, and where too many pictures are unreadable.
    """
    limit = limit or CacheLimit()
    size, fit, channels = pixel_format.image_size, pixel_format.image_fit, pixel_format.channels
    folder = cache_home / f"{fingerprint[:16]}-{size}px-{fit}-{channels}ch-v{DECODER_VERSION}{rule_key}"
    kept, note = _are_kept(len(files) * math.prod(pixel_format.shape), folder, limit)
    cached = _Cached(
        folder=folder if kept else folder.with_name(f"{folder.name}-sums"),
        readers=readers,
        files=files,
        pixel_format=pixel_format,
        streamed_by=None if kept else limit.processes or cpu_cores(),
        note=f"{plural(len(files), 'image')} {'takes' if len(files) == 1 else 'take'} {note}",
    )
    pixels = cached.read()
    if pixels is None:
        with locked(cached.folder.with_name(f"{cached.folder.name}.lock")):
            # A process that waited here for another finds the pictures decoded.
            pixels = cached.read()
            if pixels is None:
                cached.build(progress)
                pixels = cached.read()
    if pixels is None:
        raise UserError(f"{cached.folder}: cannot be read back after writing; check the disk and try again")
    return pixels


def _are_kept(needed_bytes: int, folder: Path, limit: CacheLimit) -> tuple[bool, str]:
    """Whether a set of so many bytes is kept decoded, and why, in words that are the same whenever it is opened."""
    size = f"{show_bytes(needed_bytes)} decoded"
    if limit.size_bytes is not None:
        allowed = f"the {show_bytes(limit.size_bytes)} of --cache-limit"
        if needed_bytes <= limit.size_bytes:
            return True, f"{size}, no more than {allowed}: kept in the cache"
        return False, f"{size}, more than {allowed}: decoded again whenever they are used"
    home = next(path for path in folder.parents if path.exists())
    is_there = (folder / "images.npy").exists()
    if is_there or needed_bytes <= _FREE_SHARE * shutil.disk_usage(home).free:
        return True, f"{size}, which fit on the disk: kept in the cache"
    return False, f"{size}, more than half of the free disk space: decoded again whenever they are used"


@dataclass(frozen=True, kw_only=True)
class _Cached:
    """A folder that holds the pictures and their sums, or the sums alone."""

    folder: Path
    readers: Readers
    files: Sequence[ImageFile]
    pixel_format: PixelFormat
    streamed_by: int | None
    """Processes that decode what is not kept; None: all is kept."""
    note: str

    @property
    def report(self) -> Path:
        """Which files are unreadable."""
        return self.folder.with_name(f"{self.folder.name}.report.json")

    def read(self) -> Pixels | None:
        """What was built, or None where there is nothing whole."""
        written = read_json(self.report)
        if written is None:
            return None
        try:
            pool_NHWC = self._pool()
            sums_N2C = np.load(self.folder / "sums.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        images, channels = len(self.files), self.pixel_format.channels
        if pool_NHWC.shape != (images, *self.pixel_format.shape) or sums_N2C.shape != (images, 2, channels):
            return None
        return Pixels(
            pool_NHWC=pool_NHWC,
            sums_N2C=sums_N2C,
            unreadable={entry["path"]: entry["reason"] for entry in written["unreadable"]},
            note=self.note,
        )

    def _pool(self) -> Pool:
        if self.streamed_by is None:
            mapped: UInt8Array = np.load(self.folder / "images.npy", mmap_mode="r", allow_pickle=False)
            return mapped
        return StreamedPool(
            layout=self.readers.layout, files=self.files, pixel_format=self.pixel_format, processes=self.streamed_by
        )

    def build(self, progress: Progress | None) -> None:
        """Decode all pictures. Raises UserError where the disk is full or too many are unreadable."""
        part = self.folder.with_name(f"{self.folder.name}.part")
        with writing_below(self.folder.parent):
            # Left by a process that was killed: the process that holds the lock is the only builder.
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            part.mkdir()
            try:
                unreadable = self._write(part, progress)
                entries = [{"path": name, "reason": reason} for name, reason in unreadable.items()]
                root, images = str(self.readers.layout.root), len(self.files)
                write_json(self.report, {"root": root, "images": images, "unreadable": entries})
                check_unreadable(unreadable, images, str(self.report))
                part.rename(self.folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)

    def _write(self, part: Path, progress: Progress | None) -> dict[str, str]:
        """Write the pictures, unless they are not kept, and their sums; returns the unreadable ones."""
        if self.streamed_by:
            decoded = self.readers.decode(self.files, self.pixel_format, None, progress)
        else:
            shape = (len(self.files), *self.pixel_format.shape)
            with (part / "images.npy").open("wb") as stream:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                target = Target(part / "images.npy", stream.tell())
                stream.truncate(target.offset + math.prod(shape))
                decoded = self.readers.decode(self.files, self.pixel_format, target, progress)
                os.fsync(stream.fileno())
        np.save(part / "sums.npy", decoded.sums_N2C)
        return decoded.unreadable
