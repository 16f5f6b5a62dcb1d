"""What the files contain: a hash of each, remembered between starts, and one fingerprint over what a search sees."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data.errors import UserError
from data.files import locked, read_json, write_json, writing_below
from data.layout import ImageFile, Layout
from data.part_names import same_name
from data.progress import Progress
from data.readers import Readers

_SETTLED_NS = 2_000_000_000
"""A file changed just before it is read can change again without a new time stamp: its hash is not remembered."""

_Manifest = dict[str, list[int | str]]
"""Name -> size in bytes, mtime in ns, hash."""


def content_hashes(readers: Readers, cache_home: Path, progress: Progress | None = None) -> dict[str, str]:
    """Name -> BLAKE2b hash of each file's content, 128 bits in hex.

    Files of the size and time that the manifest below `cache_home` remembers are not read again. Raises UserError for
    a file that cannot be read.
    """
    layout = readers.layout
    if layout.root is None:
        return _hash_files(readers, layout.files, progress)
    key = hashlib.blake2b(bytes(layout.root), digest_size=16).hexdigest()
    path = cache_home / "manifests" / f"{key}.json"
    known = _known_hashes(path, layout)
    if len(known) < len(layout.files):
        with locked(path.with_suffix(".lock")):
            # A process that waited here for another finds its work done.
            known = _known_hashes(path, layout)
            known |= _hash_files(readers, [file for file in layout.files if file.name not in known], progress)
            with writing_below(cache_home):
                write_json(path, {"root": str(layout.root), "files": _settled(layout.files, known)})
    return known


def fingerprint(files: Iterable[ImageFile], hashes: Mapping[str, str]) -> str:
    """Hash over names, sizes and contents, 256 bits in hex, whatever the order of the files and the form of a name."""
    lines = sorted(f"{same_name(file.name)}\t{file.size_bytes}\t{hashes[file.name]}\n" for file in files)
    return hashlib.blake2b("".join(lines).encode("utf-8", "surrogateescape"), digest_size=32).hexdigest()


def _known_hashes(path: Path, layout: Layout) -> dict[str, str]:
    manifest: _Manifest = (read_json(path) or {}).get("files", {})
    known = {}
    for file in layout.files:
        entry = manifest.get(file.name)
        if entry and entry[0] == file.size_bytes and entry[1] == file.mtime_ns:
            known[file.name] = str(entry[2])
    return known


def _settled(files: Sequence[ImageFile], hashes: Mapping[str, str]) -> _Manifest:
    newest_ns = time.time_ns() - _SETTLED_NS
    return {
        file.name: [file.size_bytes, file.mtime_ns, hashes[file.name]] for file in files if file.mtime_ns < newest_ns
    }


def _hash_files(readers: Readers, files: Sequence[ImageFile], progress: Progress | None) -> dict[str, str]:
    try:
        return readers.hash_contents(files, progress)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}; make it readable or remove it") from error
