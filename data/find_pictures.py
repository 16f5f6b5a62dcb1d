"""Pictures that a user points at: files, and folders that stand for all pictures below them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from data.errors import UserError
from data.ignored import check_utf8, walk_images


def find_pictures(places: Sequence[Path]) -> list[Path]:
    """The pictures in the order given, those of a folder by name, without what `data.ignored` names.

    Raises UserError for a place that is not there, for a folder without a picture, and for a name that is not UTF-8.
    """
    found = [path for place in places for path in _pictures(place)]
    check_utf8([str(path) for path in found])
    return found


def _pictures(place: Path) -> Iterator[Path]:
    if place.is_dir():
        found = sorted(Path(entry.path) for entry in walk_images(str(place)))
        if not found:
            raise UserError(f"{place}: no pictures below this folder")
        yield from found
    elif place.is_file():
        yield place
    else:
        raise UserError(f"{place}: no such file or folder")
