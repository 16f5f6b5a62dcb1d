"""The champion's pictures, as far as `search.pictures` has drawn them, ready to stand inside the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from data.files import read_json
from search import names
from search.pictures.draw import INDEX_FILE, PICTURE_FOLDER

MAX_BYTES = 2_000_000
"""Of all pictures together, so that the page stays below 8 MB; those beyond it stay files."""
_SHOWN_AS_FIGURES = frozenset({"confusion.png", "class_scores.png"})
"""Of test images, that is; the page shows the same interactively once the test set was looked at."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as a `data:` address."""

    title: str
    caption: str
    source: str


def read_pictures(home: Path, study: str, *, is_tested: bool) -> list[Picture]:
    """The pictures in the study's folder, in their order; none if there are none."""
    folder = names.study_folder(home, study) / PICTURE_FOLDER
    pictures, total = [], 0
    for entry in read_json(folder / INDEX_FILE) or ():
        file = folder / entry["file"]
        if not file.is_file() or (is_tested and entry["file"] in _SHOWN_AS_FIGURES):
            continue
        content = file.read_bytes()
        total += len(content)
        if total > MAX_BYTES:
            break
        source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        pictures.append(Picture(title=entry["title"], caption=entry["caption"], source=source))
    return pictures
