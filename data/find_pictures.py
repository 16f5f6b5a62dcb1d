"""Pictures that a user points at: files, and folders that stand for all pictures below them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from data.errors import UserError
from data.layout import IMAGE_SUFFIXES


def find_pictures(places: Sequence[Path]) -> list[Path]:
    """The pictures in the order given, those of a folder by name.

    Raises UserError for a place that is not there and for a folder without a picture.
    """
    return [path for place in places for path in _pictures(place)]


def _pictures(place: Path) -> Iterator[Path]:
    if place.is_dir():
        found = sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise UserError(f"{place}: no pictures below this folder")
        yield from found
    elif place.is_file():
        yield place
    else:
        raise UserError(f"{place}: no such file or folder")
