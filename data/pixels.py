"""The decoded pictures of a data set: one uncompressed array on disk that every process maps read-only."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.arrays import IntArray, UInt8Array
from data.decode import DECODER_VERSION, ImageFit, UnreadableImage, decode, pillow_warnings
from data.errors import UserError
from data.files import locked, read_json, write_json, writing_below
from data.layout import ImageFile, Layout
from data.parallel import map_files
from data.progress import Progress

_TOLERATED_SHARE = 0.01
_CHUNK_BYTES = 4 * 2**20
"""Of decoded pictures: what a thread works on at a time."""


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """What every picture is made into."""

    image_size: int
    image_fit: ImageFit
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.image_size, self.image_size, self.channels


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """Row n belongs to the n-th file; the rows of unreadable files are black and must not be used."""

    pool_NHWC: UInt8Array
    sums_N2C: IntArray
    """Per picture and channel: the sum of its values, and of their squares. Exact integers."""
    unreadable: dict[str, str]
    """Name -> reason."""


class DecodedChunk(NamedTuple):
    """Some consecutive pictures, as in `Pixels`."""

    images_NHWC: UInt8Array
    sums_N2C: IntArray
    unreadable: dict[str, str]


def open_pixels(
    layout: Layout,
    files: Sequence[ImageFile],
    fingerprint: str,
    pixel_format: PixelFormat,
    cache_home: Path,
    progress: Progress | None = None,
) -> Pixels:
    """Map the pictures of `files`, whose fingerprint is given, decoding them first where no process has yet.

    Raises UserError where the disk is full or read-only, and where too many pictures are unreadable.
    """
    size, fit, channels = pixel_format.image_size, pixel_format.image_fit, pixel_format.channels
    folder = cache_home / f"{fingerprint[:16]}-{size}px-{fit}-{channels}ch-v{DECODER_VERSION}"
    report = folder.with_name(f"{folder.name}.report.json")
    pixels = _map(folder, report, len(files), pixel_format)
    if pixels is None:
        with locked(folder.with_name(f"{folder.name}.lock")):
            # Who waited for another process here finds the pictures decoded.
            pixels = _map(folder, report, len(files), pixel_format)
            if pixels is None:
                _build(folder, report, layout, files, pixel_format, progress)
                pixels = _map(folder, report, len(files), pixel_format)
    if pixels is None:
        raise UserError(f"{folder}: cannot be read back after writing; check the disk and try again")
    return pixels


def decode_files(
    layout: Layout, files: Sequence[ImageFile], pixel_format: PixelFormat, progress: Progress | None
) -> Generator[DecodedChunk]:
    """Decode `files` in order on all cores; an unreadable one gives a black picture and its reason.

    To be closed by whoever stops early: warning filters are changed until then.
    """

    def decode_chunk(chunk: Sequence[ImageFile]) -> DecodedChunk:
        images_NHWC = np.zeros((len(chunk), *pixel_format.shape), dtype=np.uint8)
        unreadable = {}
        for row, file in enumerate(chunk):
            try:
                images_NHWC[row] = _decode_file(layout, file, pixel_format)
            except UnreadableImage as error:
                unreadable[file.name] = str(error)
        return DecodedChunk(images_NHWC, _channel_sums(images_NHWC), unreadable)

    chunk_size = max(1, min(64, _CHUNK_BYTES // math.prod(pixel_format.shape)))
    with pillow_warnings():
        yield from map_files(decode_chunk, files, label="decoding images", progress=progress, chunk_size=chunk_size)


def check_unreadable(unreadable: dict[str, str], files: int, where: str) -> None:
    """Raise UserError where more than 1 % of so many files are unreadable; a single one is always forgiven."""
    if len(unreadable) > max(1, int(_TOLERATED_SHARE * files)):
        name, reason = next(iter(unreadable.items()))
        raise UserError(
            f"{where}: {len(unreadable)} of {files} images are unreadable, more than 1 %; "
            f"the first is {name} ({reason}); repair or remove them"
        )


def _channel_sums(images_NHWC: UInt8Array) -> IntArray:
    """Sums of values and of squares, shape (N, 2, C): exact, as no sum of these integers exceeds a float64's 2^53."""
    values_NPC = images_NHWC.reshape(len(images_NHWC), -1, images_NHWC.shape[-1]).astype(np.float64)
    # As products with ones: four times as fast as sums over an axis that is not the last.
    ones_1P = np.ones((1, values_NPC.shape[1]))
    return np.concatenate((ones_1P @ values_NPC, ones_1P @ np.square(values_NPC)), axis=1).astype(np.int64)


def _decode_file(layout: Layout, file: ImageFile, pixel_format: PixelFormat) -> UInt8Array:
    try:
        content = layout.read(file.name)
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror}") from error
    return decode(
        content,
        image_size=pixel_format.image_size,
        image_fit=pixel_format.image_fit,
        channels=pixel_format.channels,
    )


def _map(folder: Path, report: Path, images: int, pixel_format: PixelFormat) -> Pixels | None:
    """What was built, or None where there is nothing whole."""
    written = read_json(report)
    if written is None:
        return None
    try:
        pool_NHWC = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        sums_N2C = np.load(folder / "sums.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if pool_NHWC.shape != (images, *pixel_format.shape) or sums_N2C.shape != (images, 2, pixel_format.channels):
        return None
    return Pixels(
        pool_NHWC=pool_NHWC,
        sums_N2C=sums_N2C,
        unreadable={entry["path"]: entry["reason"] for entry in written["unreadable"]},
    )


def _build(
    folder: Path,
    report: Path,
    layout: Layout,
    files: Sequence[ImageFile],
    pixel_format: PixelFormat,
    progress: Progress | None,
) -> None:
    part = folder.with_name(f"{folder.name}.part")
    with writing_below(folder.parent):
        # Left by a process that was killed: whoever holds the lock is the only builder.
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        part.mkdir()
        try:
            unreadable = _write(part, layout, files, pixel_format, progress)
            entries = [{"path": name, "reason": reason} for name, reason in unreadable.items()]
            write_json(report, {"root": str(layout.root), "images": len(files), "unreadable": entries})
            check_unreadable(unreadable, len(files), str(report))
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _write(
    part: Path, layout: Layout, files: Sequence[ImageFile], pixel_format: PixelFormat, progress: Progress | None
) -> dict[str, str]:
    """Write the pictures as they come; returns the unreadable ones."""
    unreadable: dict[str, str] = {}
    sums = []
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), *pixel_format.shape)}
    # Written, not mapped: a full disk is then an error that can be told, and not a bus error that ends the process.
    with (part / "images.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        with closing(decode_files(layout, files, pixel_format, progress)) as chunks:
            for chunk in chunks:
                stream.write(chunk.images_NHWC.data)
                sums.append(chunk.sums_N2C)
                unreadable |= chunk.unreadable
        stream.flush()
        os.fsync(stream.fileno())
    np.save(part / "sums.npy", np.concatenate(sums))
    return unreadable
