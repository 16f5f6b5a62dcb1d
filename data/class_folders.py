"""The class folders of one part of a data set, and the pictures in each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import UserError
from data.ignored import check_utf8, image_suffixes, is_image_name, is_written_by_sieve, scan
from data.part_names import same_name
from data.text import listed, plural

Listed = tuple[str, int, int]
"""Name relative to the data set's root, size in bytes, mtime in ns."""


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The pictures of one part."""

    images: Mapping[str, Sequence[Listed]]
    """Class name -> its pictures."""
    loose: Mapping[Path, Sequence[Listed]]
    """Folder -> pictures beside its class folders, which belong to no class."""
    notes: tuple[str, ...]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, by name, links among them, without what is ignored and links to a folder above."""
    found = []
    for entry in scan(folder):
        if not entry.is_dir() or is_written_by_sieve(entry.path):
            continue
        if entry.is_symlink() and Path(entry.path).resolve() in (folder.resolve(), *folder.resolve().parents):
            continue
        found.append(Path(entry.path))
    return found


def loose_images(folder: Path, root: Path) -> list[Listed]:
    """The pictures that lie in the folder itself."""
    prefix = _prefix(folder, root)
    return [_listed(entry, prefix) for entry in scan(folder) if is_image_name(entry.name) and entry.is_file()]


def has_images(folder: Path) -> bool:
    """Whether a picture lies in the folder or below it."""
    return next(_images(folder, "", Counter()), None) is not None


def list_classes(places: Mapping[Path, str | None], root: Path, ignored: Counter[str]) -> Classes:
    """List the pictures of one part by class; counts other files by suffix in `ignored`.

    `places` are folders whose subfolders are classes, or, with a name, folders of the pictures of that class. Raises
    UserError where there are no classes, where one has no pictures, and for a name that is not UTF-8.
    """
    images: dict[str, list[Listed]] = {}
    written: dict[str, set[str]] = {}
    loose: dict[Path, Sequence[Listed]] = {}
    for place, class_name in places.items():
        class_folders = {place: class_name} if class_name else {path: path.name for path in subfolders(place)}
        if not class_name:
            loose[place] = loose_images(place, root)
            if not class_folders:
                what = f"{plural(len(loose[place]), 'image')} but no class folders" if loose[place] else "no images"
                raise UserError(
                    f"{place}: {what}; put the images into one folder per class, or give a table of labels with "
                    "--data TABLE.csv"
                )
        check_utf8([str(path) for path in class_folders])
        for path, name in class_folders.items():
            images.setdefault(same_name(name), []).extend(_images(path, _prefix(path, root), ignored))
            written.setdefault(same_name(name), set()).add(name)
    _check_not_empty(next(iter(places)), images)
    doubled = [name for name, forms in written.items() if len(forms) > 1]
    notes = [f"{name}: two folders of this name, written in NFC and in NFD, are one class" for name in doubled]
    return Classes(images=images, loose=loose, notes=tuple(notes))


def _check_not_empty(place: Path, images: Mapping[str, Sequence[Listed]]) -> None:
    if not any(images.values()):
        raise UserError(
            f"{place}: its class folders contain no images; Sieve reads {' '.join(sorted(image_suffixes()))}"
        )
    empty = [name for name, files in images.items() if not files]
    if empty:
        raise UserError(f"{place}: no images in class {listed(empty)}; remove the folder or fill it")


def _images(folder: Path | str, prefix: str, ignored: Counter[str]) -> Iterator[Listed]:
    for entry in scan(folder):
        # Links to folders are not followed below a class: they can lead in a circle.
        if entry.is_dir(follow_symlinks=False):
            if not is_written_by_sieve(entry.path):
                yield from _images(entry.path, f"{prefix}{entry.name}/", ignored)
        elif is_image_name(entry.name) and entry.is_file():
            yield _listed(entry, prefix)
        else:
            ignored[os.path.splitext(entry.name)[1].lower() or entry.name] += 1


def _listed(entry: os.DirEntry[str], prefix: str) -> Listed:
    status = entry.stat()
    return f"{prefix}{entry.name}", status.st_size, status.st_mtime_ns


def _prefix(folder: Path, root: Path) -> str:
    return "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
