"""What lies in an image folder: which files there are, their classes, and which part of the data each belongs to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from data.errors import UserError

Part = Literal["train", "val", "test"]

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_PART_OF_FOLDER: dict[str, Part] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_LISTED = 5
"""Names in an error message before the rest is only counted."""


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

    def count(self, part: Part) -> int:
        """Files in that part; 0 where the source does not bring it."""
        return sum(file.part == part for file in self.files)


@dataclass(frozen=True)
class FolderReader:
    """Reads files by their name below a root."""

    root: Path

    def __call__(self, name: str) -> bytes:
        # Without pathlib and a buffer: half the time of a small file.
        with open(f"{self.root}{os.sep}{name}", "rb", buffering=0) as stream:
            return stream.read()


def scan_folder(root: Path) -> Layout:
    """List an image folder without opening a picture.

    Understood are `train/<class>/**` with any of `val/` (`valid/`, `validation/`) and `test/` beside it, and
    `<class>/**` directly below the root. `val/` without `test/` is the test set, as in iNaturalist-12K. Below a class
    all folders are followed; hidden files and folders are not. Raises UserError where something else lies there.
    """
    if not root.exists():
        raise UserError(f"{root}: no such folder; give a folder of images, train/<class>/* or <class>/*")
    if not root.is_dir():
        raise UserError(f"{root}: not a folder; give the folder that holds train/<class>/* or <class>/*")
    try:
        parts = _part_folders(root)
        ignored: Counter[str] = Counter()
        found = {part: _images_by_class(folder, root, ignored) for part, folder in parts.items()}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be listed: {error.strerror}; make it readable") from error
    classes = _common_classes(parts, found)
    files = [
        ImageFile(name, label, part, size_bytes, mtime_ns)
        for part, images_by_class in found.items()
        for label, class_name in enumerate(classes)
        for name, size_bytes, mtime_ns in images_by_class[class_name]
    ]
    return Layout(
        root=root,
        classes=classes,
        files=tuple(sorted(files)),
        read=FolderReader(root),
        notes=_notes(parts, found, ignored),
    )


def _part_folders(root: Path) -> dict[Part, Path]:
    """The folder of each part that the source brings; always one for `train`."""
    found: dict[Part, Path] = {}
    for folder in _subfolders(root):
        part = _PART_OF_FOLDER.get(folder.name.lower())
        if part in found:
            raise UserError(f"{root}: {found[part].name}/ and {folder.name}/ are both a {part} set; keep one of them")
        if part:
            found[part] = folder
    if not found:
        return {"train": root}
    if "train" not in found:
        names = " and ".join(f"{folder.name}/" for folder in found.values())
        raise UserError(f"{root}: has {names} but no train/; put the training images into train/<class>/")
    if "val" in found and "test" not in found:
        found["test"] = found.pop("val")
    return found


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _hidden(path.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _images_by_class(folder: Path, root: Path, ignored: Counter[str]) -> dict[str, list[tuple[str, int, int]]]:
    """Class name -> (name, size, mtime) of its images. Raises UserError unless `folder` holds one folder per class."""
    class_folders = _subfolders(folder)
    if not class_folders:
        direct = sum(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in os.listdir(folder))
        what = f"{direct} images but no class folders" if direct else "no images"
        raise UserError(f"{folder}: {what}; put the images into one folder per class")
    images = {path.name: list(_images(path, path.relative_to(root).as_posix(), ignored)) for path in class_folders}
    if not any(images.values()):
        raise UserError(
            f"{folder}: its class folders contain no images; Sieve reads {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    empty = [name for name, files in images.items() if not files]
    if empty:
        raise UserError(f"{folder}: no images in class {_listed(empty)}; remove the folder or fill it")
    return images


def _images(folder: Path, prefix: str, ignored: Counter[str]) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if _hidden(name):
                continue
            # Links to folders are not followed below a class: they can lead in a circle.
            if entry.is_dir(follow_symlinks=False):
                yield from _images(Path(entry.path), f"{prefix}/{name}", ignored)
            elif name[name.rfind(".") :].lower() in IMAGE_SUFFIXES and entry.is_file():
                status = entry.stat()
                yield f"{prefix}/{name}", status.st_size, status.st_mtime_ns
            else:
                ignored[os.path.splitext(name)[1].lower() or name] += 1


def _common_classes(
    parts: dict[Part, Path], found: dict[Part, dict[str, list[tuple[str, int, int]]]]
) -> tuple[str, ...]:
    classes = sorted(found["train"])
    if len(classes) == 1:
        raise UserError(
            f"{parts['train']}: a single class, {classes[0]}; a classifier needs at least two class folders"
        )
    for part, images in found.items():
        missing, extra = sorted(set(classes) - set(images)), sorted(set(images) - set(classes))
        differences = [f"{what} {_listed(names)}" for what, names in (("lacks", missing), ("adds", extra)) if names]
        if differences:
            raise UserError(
                f"{parts[part]}: {' and '.join(differences)} compared with {parts['train'].name}/; "
                "both need the same classes"
            )
    return tuple(classes)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


def _notes(
    parts: dict[Part, Path], found: dict[Part, dict[str, list[tuple[str, int, int]]]], ignored: Counter[str]
) -> tuple[str, ...]:
    meanings = {"train": "searched", "val": "the validation set", "test": "the sealed test set"}
    notes = []
    for part, folder in parts.items():
        meaning = meanings[part]
        if part == "test" and folder.name.lower() != "test":
            meaning = "taken as the sealed test set (no test/ beside it)"
        count = sum(len(images) for images in found[part].values())
        notes.append(f"{folder.name}/ {count} images: {meaning}")
    if ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items())[:_LISTED])
        notes.append(f"{sum(ignored.values())} other files ignored: {kinds}")
    return tuple(notes)
