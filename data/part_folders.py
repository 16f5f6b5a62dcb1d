"""Finds the folders of a data set's parts: by their names, and by what lies in them and beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.class_folders import has_images, loose_images, subfolders
from data.errors import UserError
from data.part_names import GENERIC_NAMES, Part, find_part_names, same_name
from data.text import listed, plural

_DEEPEST = 4
"""Folders inside a folder of the same name that are entered: archives of archives have two."""


@dataclass(frozen=True, kw_only=True)
class PartFolders:
    """Where the parts of a data set lie."""

    root: Path
    parts: Mapping[Part, Mapping[Path, str | None]]
    """For each part that the source brings, folders of class folders, or folders of the pictures of the named class;
    always one for `train`."""
    notes: tuple[str, ...] = ()
    val_is_test: bool = False
    """Whether the validation folder is the test set, as there is no other."""

    def place(self, part: Part) -> Path:
        """The folder of a part, for messages."""
        place, class_name = next(iter(self.parts[part].items()))
        return self.root if class_name else place

    def title(self, part: Part) -> str:
        """The name of a part's folder, for notes."""
        place, class_name = next(iter(self.parts[part].items()))
        if class_name:
            return f"*/{place.name}/"
        return f"{place.relative_to(self.root).as_posix()}/" if place != self.root else f"{place.name}/"

    def hint_of_single_class(self, class_name: str) -> str:
        """What to do if the only class folder holds the class folders."""
        for folder in subfolders(self.place("train")):
            inner = [path.name for path in subfolders(folder)]
            if same_name(folder.name) == class_name and len(inner) > 1:
                return f"; if {listed(inner, 3)} are the classes, give --data {folder}"
        return ""


def find_part_folders(root: Path) -> PartFolders:
    """Decide which folders below `root` are parts and which are classes.

    Raises UserError where that is a question that only the user can answer, with what lies there.
    """
    base, notes = _enter(root)
    folders = subfolders(base)
    named = _part_of(folders)
    others = [path for path in folders if path not in named and has_images(path)]
    if named and others and not any(_holds_classes(path) for path in named):
        names = listed([f"{path.name}/" for path in named])
        notes.append(f"{names} beside {_titles(others)}: taken as classes, because they contain no class folders")
        named = {}
    if not named:
        return _without_parts(root, base, folders, notes)
    return _with_parts(root, base, named, others, notes)


def _without_parts(root: Path, base: Path, folders: Sequence[Path], notes: list[str]) -> PartFolders:
    """Class folders, which may each hold folders of parts: `<class>/train/`, `<class>/test/`."""
    inner = {path: _part_of(subfolders(path)) for path in folders}
    if len(inner) < 2 or not all(_is_divided(path, parts) for path, parts in inner.items()):
        return PartFolders(root=root, parts={"train": {base: None}}, notes=tuple(notes))
    found: dict[Part, dict[Path, str | None]] = {}
    for class_folder, parts in inner.items():
        for place, part in parts.items():
            found.setdefault(part, {})[place] = class_folder.name
    notes.append(f"every class folder is divided into folders: {', '.join(sorted({p.name for p in parts}))}")
    return _assigned(root, found, notes)


def _is_divided(class_folder: Path, parts: Mapping[Path, Part]) -> bool:
    """Whether a class folder holds folders of parts, `train` among them, and nothing else."""
    return (
        {"train", "test"} <= set(parts.values())
        and not loose_images(class_folder, class_folder)
        and all(path in parts for path in subfolders(class_folder) if has_images(path))
    )


def _with_parts(
    root: Path, base: Path, named: Mapping[Path, Part], others: Sequence[Path], notes: list[str]
) -> PartFolders:
    found: dict[Part, dict[Path, str | None]] = {}
    for path, part in named.items():
        if part in found:
            first = next(iter(found[part]))
            raise UserError(f"{base}: {first.name}/ and {path.name}/ are both a {part} set; keep one of them")
        found[part] = {path: None}
    if "train" not in found:
        raise UserError(
            f"{base}: has {' and '.join(f'{path.name}/' for path in named)} but no train/; "
            "put the training images into train/<class>/"
        )
    train = next(iter(found["train"]))
    if others and len(found) == 1:
        raise UserError(
            f"{base}: {train.name}/ holds folders ({listed([path.name for path in subfolders(train)])}), and "
            f"{_titles(others)} lie beside it; if {train.name}/ is the training set, give --data {train}; "
            f"if it is a class, rename it"
        )
    if others:
        notes.append(f"{_titles(others)} beside {', '.join(f'{path.name}/' for path in named)}: not used")
    notes += _loose_notes(base)
    found["train"] = {_through(train): None}
    classes = {same_name(path.name) for path in subfolders(next(iter(found["train"])))}
    for part in [part for part in found if part != "train"]:
        place = next(iter(found[part]))
        inner = _through(place)
        found[part] = {inner: None}
        if not _has_labels(inner, classes):
            del found[part]
            notes.append(_left_aside(place, inner, part))
    return _assigned(root, found, notes)


def _assigned(root: Path, found: dict[Part, dict[Path, str | None]], notes: list[str]) -> PartFolders:
    val_is_test = "val" in found and "test" not in found
    if val_is_test:
        found["test"] = found.pop("val")
    return PartFolders(root=root, parts=found, notes=tuple(notes), val_is_test=val_is_test)


def _has_labels(place: Path, classes: set[str]) -> bool:
    """Whether the folder holds class folders: one is not enough unless it has the name of a class."""
    folders = [path for path in subfolders(place) if has_images(path)]
    return len(folders) > 1 or any(same_name(path.name) in classes for path in folders)


def _left_aside(place: Path, inner: Path, part: Part) -> str:
    images = len(loose_images(inner, inner)) + sum(
        len(loose_images(path, path)) for path in subfolders(inner) if has_images(path)
    )
    instead = "; a part of the training images is sealed instead" if part == "test" else ""
    return f"{place.name}/ {plural(images, 'image')} outside class folders, so without labels: not used{instead}"


def _loose_notes(base: Path) -> list[str]:
    loose = loose_images(base, base)
    if not loose:
        return []
    names = listed([name for name, _, _ in loose])
    return [f"{plural(len(loose), 'image')} in {base.name}/ itself, outside class folders, not used: {names}"]


def _enter(root: Path) -> tuple[Path, list[str]]:
    """The folder that holds parts or classes: the root, or a folder in it that is all that it holds."""
    chain = [root]
    while len(chain) <= _DEEPEST and (inner := _only_folder(chain[-1])) and not _part_of([inner]):
        chain.append(inner)
    divided = [folder for folder in chain if "train" in _part_of(subfolders(folder)).values()]
    base = divided[0] if divided else _through(root)
    return base, [] if base == root else [f"{base.relative_to(root).as_posix()}/ is all that lies here: entered"]


def _through(folder: Path) -> Path:
    """The folder of the class folders: `folder`, or a folder in it that is only another level.

    That is the only folder with pictures in it, and has a general name, the same name, or that of the same part.
    """
    for _ in range(_DEEPEST):
        inner = _only_folder(folder)
        if inner is None or not _holds_classes(inner):
            break
        parts = _part_of([folder, inner])
        same = same_name(inner.name).casefold() == same_name(folder.name).casefold()
        if not (same or inner.name.casefold() in GENERIC_NAMES or (len(parts) == 2 and len(set(parts.values())) == 1)):
            break
        folder = inner
    return folder


def _only_folder(folder: Path) -> Path | None:
    """The only folder with pictures in a folder that holds no pictures itself."""
    folders = [path for path in subfolders(folder) if has_images(path)]
    return folders[0] if len(folders) == 1 and not loose_images(folder, folder) else None


def _holds_classes(part: Path) -> bool:
    return any(has_images(path) for path in subfolders(part))


def _part_of(folders: Sequence[Path]) -> dict[Path, Part]:
    parts = find_part_names([path.name for path in folders])
    return {path: parts[path.name] for path in folders if path.name in parts}


def _titles(folders: Sequence[Path]) -> str:
    return listed([f"{path.name}/" for path in folders])
