"""What lies in an image folder: which files there are, their classes, and which part of the data each belongs to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from data.class_folders import Classes, Listed, list_classes
from data.errors import UserError
from data.ignored import HEIF_SUFFIXES
from data.part_folders import PartFolders, find_part_folders
from data.part_names import Part, same_name
from data.text import listed, plural

__all__ = ["FolderReader", "ImageFile", "Layout", "Part", "scan_folder"]


class ImageFile(NamedTuple):
    """One picture of a data set, not opened yet."""

    name: str
    """Path relative to the data set's root, with forward slashes."""
    label: int
    part: Part
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """All pictures of a data set. Where no file is in the part `test`, a test part is still to be set aside."""

    root: Path | None
    """None: not a folder, see `data.digits`."""
    classes: tuple[str, ...]
    files: tuple[ImageFile, ...]
    """Sorted by name."""
    read: Callable[[str], bytes]
    """The content of the file of that name."""
    notes: tuple[str, ...]
    """What was taken for what: lines for people."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """File name -> group, where the source itself names groups."""

    def count(self, part: Part) -> int:
        """Files in that part; 0 where the source does not bring it."""
        return sum(file.part == part for file in self.files)


@dataclass(frozen=True)
class FolderReader:
    """Reads files by their name below a root."""

    root: Path

    def __call__(self, name: str) -> bytes:
        """Return the content of the file with this relative path. Raises OSError if it cannot be read."""
        # Without pathlib and a buffer: half the time of a small file.
        with open(f"{self.root}{os.sep}{name}", "rb", buffering=0) as stream:
            return stream.read()


def scan_folder(root: Path) -> Layout:
    """List an image folder without opening a picture.

    Understood are `train/<class>/**` with any of `val/` and `test/` beside it under the names that
    `data.part_names` lists, `<class>/**` directly below the root, and `<class>/train/**`. `val/` without `test/` is the
    test set, as in iNaturalist-12K; a part without class folders is left aside. Below a class all folders are followed,
    links to folders are not. What `data.ignored` names is skipped. Raises UserError where something else lies there.
    """
    if not root.exists():
        raise UserError(f"{root}: no such folder; give a folder of images, train/<class>/* or <class>/*")
    if not root.is_dir():
        raise UserError(f"{root}: not a folder; give the folder that holds train/<class>/* or <class>/*")
    ignored: Counter[str] = Counter()
    try:
        folders = find_part_folders(root)
        found = {part: list_classes(places, root, ignored) for part, places in folders.parts.items()}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be listed: {error.strerror}; make it readable") from error
    classes = _common_classes(folders, found)
    files = [
        ImageFile(name, label, part, size_bytes, mtime_ns)
        for part, images_by_class in found.items()
        for label, class_name in enumerate(classes)
        for name, size_bytes, mtime_ns in images_by_class.images.get(class_name, ())
    ]
    return Layout(
        root=root,
        classes=classes,
        files=tuple(sort_files(files)),
        read=FolderReader(root),
        notes=_notes(folders, found, ignored),
    )


def sort_files(files: Sequence[ImageFile]) -> list[ImageFile]:
    """By name, and equally whether a name is written in NFC or NFD: the order decides every random draw."""
    return sorted(files, key=lambda file: (same_name(file.name), file))


def _common_classes(folders: PartFolders, found: Mapping[Part, Classes]) -> tuple[str, ...]:
    classes = sorted(found["train"].images)
    if len(classes) == 1:
        raise UserError(
            f"{folders.place('train')}: a single class, {classes[0]}; a classifier needs at least two class folders"
            f"{folders.hint_of_single_class(classes[0])}"
        )
    for part, images in found.items():
        missing, extra = (sorted(set(a) - set(b)) for a, b in ((classes, images.images), (images.images, classes)))
        differences = [f"{what} {listed(names)}" for what, names in (("lacks", missing), ("adds", extra)) if names]
        if differences:
            raise UserError(
                f"{folders.place(part)}: {' and '.join(differences)} compared with {folders.title('train')}; "
                "both need the same classes"
            )
    return tuple(classes)


def _notes(folders: PartFolders, found: Mapping[Part, Classes], ignored: Counter[str]) -> tuple[str, ...]:
    meanings = {"train": "used for the search", "val": "the validation set", "test": "the sealed test set"}
    notes = []
    for part, images in found.items():
        meaning = meanings[part]
        if part == "test" and folders.val_is_test:
            meaning = "taken as the sealed test set (no test/ beside it)"
        notes.append(f"{folders.title(part)} {plural(sum(map(len, images.images.values())), 'image')}: {meaning}")
    notes += folders.notes
    for part, images in found.items():
        notes += [_loose_note(loose, folders.title(part)) for loose in images.loose.values() if loose]
        notes += images.notes
    if ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items())[:5])
        notes.append(f"{plural(sum(ignored.values()), 'other file')} ignored: {kinds}")
    heif = sum(ignored[suffix] for suffix in HEIF_SUFFIXES)
    if heif:
        notes.append(f"{plural(heif, 'HEIC or AVIF image')} not read; to use them: pip install 'sieve-search[heif]'")
    return tuple(notes)


def _loose_note(loose: Sequence[Listed], title: str) -> str:
    names = listed([name for name, _, _ in loose])
    return f"{plural(len(loose), 'image')} in {title} itself, outside class folders, not used: {names}"
