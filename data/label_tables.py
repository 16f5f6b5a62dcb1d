"""Labels from tables: a CSV file with the columns path and label, or the files `metadata.csv` of an imagefolder.

Source of the latter: the documentation of Hugging Face datasets, "Create an image dataset", ImageFolder.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from data.class_folders import subfolders
from data.errors import UserError
from data.layout import FolderReader, ImageFile, Layout, sort_files
from data.part_names import Part, find_part_names, same_name
from data.text import listed, plural, shown_name

METADATA = "metadata.csv"
SUFFIXES = (".csv", ".tsv")
_NAMES = {
    "path": (
        "path",
        "file_name",
        "filename",
        "file",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "id",
        "image_id",
    ),
    "label": ("label", "labels", "class", "class_name", "category", "target", "species", "breed", "diagnosis", "y"),
    "split": ("split", "part", "set", "subset", "fold", "partition"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id", "product", "product_id", "burst"),
}
"""Names of columns, in lower case, the likeliest first."""
_NEEDED = ("path", "label")
_TRIED_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Suffixes that are tried where a table lists names without one, as many competitions do."""


class _Row(NamedTuple):
    table: Path
    line: int
    path: str
    label: str
    split: str
    group: str


def find_tables(source: Path) -> dict[Path, str]:
    """The tables of labels that `source` is or holds, each with the part that it describes, or "" for all.

    A `metadata.csv` without a column of labels is none: the labels are then the class folders.
    """
    if source.is_file() and source.suffix.lower() in SUFFIXES:
        return {source: ""}
    if not source.is_dir():
        return {}
    places = {source: ""} | {path: path.name for path in subfolders(source) if find_part_names([path.name])}
    found = {place / METADATA: part for place, part in places.items() if (place / METADATA).is_file()}
    return {table: part for table, part in found.items() if _has_labels(table)}


def read_tables(tables: Mapping[Path, str], columns: str = "") -> Layout:
    """The layout that tables describe; paths are relative to each table's folder.

    `columns` names columns, e.g. `path=file,label=breed`; the others are found by their names. Raises UserError for a
    table without such columns, for pictures that are not there, and for a split that is not understood.
    """
    root = min((table.parent for table in tables), key=lambda folder: len(folder.parts))
    if len(tables) > 1 or any(tables.values()):
        root = root.parent if all(tables.values()) else root
    rows: list[_Row] = []
    notes: list[str] = []
    for table, part in tables.items():
        header, lines = _read(table)
        chosen = _choose_columns(table, header, columns)
        found = [_row(table, part, line, values, chosen) for line, values in lines]
        rows += found
        used = ", ".join(f"{kind} {header[place]!r}" for kind, place in chosen.items() if place is not None)
        notes.append(f"{table.relative_to(root)} lists {plural(len(found), 'image')}, by its columns {used}")
    first = next(iter(tables))
    labelled = [row for row in rows if row.label]
    classes = tuple(sorted({same_name(row.label) for row in labelled}, key=_numbers_in_order))
    if len(classes) < 2:
        raise UserError(f"{first}: a classifier needs at least two classes; found {listed(classes) or 'none'}")
    parts, part_notes = _parts(first, labelled)
    files, groups = _files(root, labelled, parts, classes)
    meanings = {"train": "used for the search", "val": "the validation set", "test": "the sealed test set"}
    for part_name, meaning in meanings.items():
        if count := sum(file.part == part_name for file in files):
            notes.append(f"{count} of the listed images: {meaning}")
    if len(labelled) < len(rows):
        notes.append(f"{plural(len(rows) - len(labelled), 'row')} without a label, not used")
    if len(files) < len(labelled):
        notes.append(f"{plural(len(labelled) - len(files), 'row')} left out: the same image and label again")
    return Layout(
        root=root,
        classes=classes,
        files=tuple(sort_files(files)),
        read=FolderReader(root),
        notes=(*notes, *part_notes),
        groups=groups,
    )


def _has_labels(table: Path) -> bool:
    header, _ = _read(table)
    return bool({name.lower() for name in header} & {*_NAMES["label"]})


def _row(table: Path, part: str, line: int, values: Sequence[str], chosen: Mapping[str, int | None]) -> _Row:
    cells = {kind: values[place].strip() if place is not None else "" for kind, place in chosen.items()}
    return _Row(table, line, cells["path"], cells["label"], part or cells["split"], cells["group"])


def _files(
    root: Path, rows: Sequence[_Row], parts: Mapping[str, Part], classes: Sequence[str]
) -> tuple[list[ImageFile], dict[str, str]]:
    """Each listed picture once, and its group. Raises UserError for missing pictures and for contradicting lines."""
    label_of = {name: label for label, name in enumerate(classes)}
    files: dict[str, ImageFile] = {}
    groups: dict[str, str] = {}
    missing = []
    for row in rows:
        found = _find(root, row)
        if found is None:
            missing.append(row)
            continue
        name, status = found
        part = parts[row.split]
        file = ImageFile(name, label_of[same_name(row.label)], part, status.st_size, status.st_mtime_ns)
        if files.setdefault(name, file) != file:
            raise UserError(
                f"{row.table}: line {row.line}: {shown_name(name)} was listed before with another label or split; "
                "keep one of the lines"
            )
        if row.group:
            groups[name] = row.group
    if missing:
        raise UserError(
            f"{missing[0].table}: line {missing[0].line}: no file {shown_name(missing[0].path)}; "
            f"{len(missing)} of {len(rows)} images are missing"
        )
    return list(files.values()), groups


def _read(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each line's number and values."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            sample = file.read(8192)
            file.seek(0)
            rows = csv.reader(file, delimiter=_delimiter(sample.partition("\n")[0]))
            header = [name.strip() for name in next(rows, [])]
            lines = [(rows.line_num, [*row, *[""] * (len(header) - len(row))]) for row in rows if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read as a table in UTF-8: {error}") from error
    except OSError as error:
        raise UserError(f"{table}: cannot be read: {error.strerror}") from error
    if not lines:
        raise UserError(f"{table}: has no rows below its header")
    return header, lines


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _choose_columns(table: Path, header: Sequence[str], columns: str) -> dict[str, int | None]:
    """The place of each column; None for one that the table lacks and does not need."""
    chosen: dict[str, int | None] = {}
    asked = dict(_asked(columns))
    lower = [same_name(name).lower() for name in header]
    for kind, names in _NAMES.items():
        if kind in asked:
            if asked[kind] not in header:
                raise UserError(f"{table}: no column {asked[kind]!r}; its columns are {listed(list(header), 20)}")
            chosen[kind] = header.index(asked[kind])
        else:
            chosen[kind] = next((lower.index(name) for name in names if name in lower), None)
    missing = [kind for kind in _NEEDED if chosen[kind] is None]
    if missing:
        raise UserError(
            f"{table}: no column is named like {' or '.join(missing)}; its columns are {listed(list(header), 20)}; "
            f"choose with --columns {','.join(f'{kind}=NAME' for kind in missing)}"
        )
    return chosen


def _asked(columns: str) -> Iterable[tuple[str, str]]:
    for entry in filter(None, columns.split(",")):
        kind, equals, name = (part.strip() for part in entry.partition("="))
        if kind not in _NAMES or not equals or not name:
            raise UserError(f"--columns {entry!r}: write e.g. path=file,label=breed,split=part,group=patient")
        yield kind, name


def _parts(table: Path, rows: Sequence[_Row]) -> tuple[dict[str, Part], list[str]]:
    """What each value of the split column means. `val` without `test` is the test set, as in folders."""
    values = sorted({row.split for row in rows})
    if values == [""]:
        return {"": "train"}, []
    known = find_part_names(values)
    unknown = [value for value in values if value not in known]
    if unknown or "train" not in known.values():
        raise UserError(
            f"{table}: the split column contains {listed(values)}; use train, val and test, of which train is required"
        )
    if "test" not in known.values() and "val" in known.values():
        return {value: "test" if part == "val" else part for value, part in known.items()}, [
            "its validation images are taken as the sealed test set (it has no test images)"
        ]
    return known, []


def _numbers_in_order(name: str) -> tuple[int, int, str]:
    """A key that sorts 2 before 10, and numbers before words."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _find(root: Path, row: _Row) -> tuple[str, os.stat_result] | None:
    """The name relative to the root, and the status, of the picture that a line lists."""
    path = os.path.join(row.table.parent, row.path.replace("\\", "/"))
    for candidate in (path, *(f"{path}{suffix}" for suffix in _TRIED_SUFFIXES)):
        try:
            status = os.stat(candidate)
        except (OSError, ValueError):
            continue
        if S_ISREG(status.st_mode):
            return Path(os.path.relpath(candidate, root)).as_posix(), status
    return None
