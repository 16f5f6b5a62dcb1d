"""The check of the sealed test images when they are sealed: which can be read, and nothing else leaves this module.

The search needs to know how many images the final test will have before it spends hours; it never sees one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.bulk import decode_chunks
from data.decode import PixelFormat, PixelRule, UnreadableImage, decode, pillow_warnings
from data.files import kept_json, read_json, write_json, writing_below
from data.fingerprint import fingerprint
from data.layout import ImageFile, Layout
from data.near_duplicates import SIZE, Signatures, near_pairs, signatures
from data.parallel import map_files
from data.progress import Progress
from data.spec import DataSpec
from data.text import listed, plural, shown_name

_SIZE = 32
"""Pixels at which a picture is decoded to see whether it can be; a JPEG is then read at a fraction of its size."""
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What is remembered of a sealed test set: names and hashes of the files, and which cannot be read."""

    hashes: Mapping[str, str]
    """Name -> hash of the content, of the readable files."""
    unreadable: Mapping[str, str]
    """Name -> reason."""

    @classmethod
    def read(cls, cache_home: Path, fingerprint: str) -> Sealed | None:
        """What `write` wrote for the sealed fingerprint; None if there is nothing."""
        stored = read_json(_path(cache_home, fingerprint))
        return None if stored is None else cls(hashes=stored["hashes"], unreadable=stored["unreadable"])

    def write(self, cache_home: Path, fingerprint: str) -> None:
        """Remember the set below `cache_home`, unless it is remembered already."""
        path = _path(cache_home, fingerprint)
        if not path.exists():
            with writing_below(cache_home):
                write_json(path, {"hashes": dict(self.hashes), "unreadable": dict(self.unreadable)})

    def notes(self) -> list[str]:
        """What is left out, for people."""
        if not self.unreadable:
            return []
        named = listed([f"{name} ({reason})" for name, reason in self.unreadable.items()], _NAMED)
        return [f"{plural(len(self.unreadable), 'test image')} left out, unreadable: {named}"]


def check_sealed(
    layout: Layout,
    files: Sequence[ImageFile],
    hashes: Mapping[str, str],
    cache_home: Path,
    spec: DataSpec,
    progress: Progress | None = None,
) -> Sealed:
    """Decode the test images of a partition once, in this process, and keep only whether each can be read."""
    rule = PixelRule(max_pixels=spec.max_pixels)
    path = _path(cache_home, f"checked-{fingerprint(files, hashes)}-{rule.max_pixels}")
    known = kept_json(path, lambda: _unreadable(layout, files, rule, progress), cache_home)
    return Sealed(hashes={file.name: hashes[file.name] for file in files if file.name not in known}, unreadable=known)


def _unreadable(
    layout: Layout, files: Sequence[ImageFile], rule: PixelRule, progress: Progress | None
) -> dict[str, str]:
    def check(chunk: Sequence[ImageFile]) -> dict[str, str]:
        reasons = {file.name: _reason(layout, file.name, rule) for file in chunk}
        return {name: reason for name, reason in reasons.items() if reason}

    found: dict[str, str] = {}
    with pillow_warnings():
        for reasons in map_files(check, files, label="checking the test images", progress=progress):
            found |= reasons
    return found


def _reason(layout: Layout, name: str, rule: PixelRule) -> str:
    """Why the picture cannot be read; empty if it can."""
    try:
        decode(layout.read(name), image_size=_SIZE, image_fit="squash", channels=3, rule=rule)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except UnreadableImage as error:
        return shown_name(str(error))
    return ""


def _path(cache_home: Path, key: str) -> Path:
    return cache_home / "sealed" / f"{key[:96]}.json"


def sealed_lookalikes(
    layout: Layout,
    files: Sequence[ImageFile],
    searched: Signatures,
    pixel_format: PixelFormat,
    progress: Progress | None = None,
) -> list[tuple[int, str]]:
    """Rows of searched pictures, each with the name of a sealed test image that is nearly the same.

    Decodes the test images here, as the searched ones were decoded; names are all that leaves this function.
    """
    shape = replace(pixel_format, image_size=SIZE)

    def compare(chunk: Sequence[ImageFile]) -> list[tuple[int, str]]:
        names = [file.name for file in chunk]
        found: list[tuple[int, str]] = []
        for decoded in decode_chunks(layout.read, names, shape):
            here, names = names[: len(decoded.images_NHWC)], names[len(decoded.images_NHWC) :]
            for row, place in near_pairs(searched, signatures(decoded.images_NHWC)).tolist():
                if here[place] not in decoded.unreadable:
                    found.append((row, here[place]))
        return found

    with pillow_warnings():
        chunks = map_files(compare, files, label="comparing with the test images", progress=progress, chunk_size=1024)
        return sorted(pair for pairs in chunks for pair in pairs)
