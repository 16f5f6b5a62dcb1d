"""The champion's pictures, if `search.pictures` has drawn them, encoded for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data.files import read_json
from search import names
from search.pictures.draw_all import INDEX_FILE, PICTURE_FOLDER
from search.pictures.sheet import DPI

MAX_BYTES = 1_800_000
"""Largest size of all pictures together: in base64, with plotly and the figures, the page stays below 8 MB."""
QUALITIES = (90, 75, 55, 30)
"""WebP qualities, tried in order until all pictures fit. Text and edges stay sharp down to the third."""
_SHOWN_AS_FIGURES = frozenset({"confusion.png", "class_scores.png"})
"""Pictures that are left out after a look at the test set, because the page then shows the same as figures."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as a `data:` URL, with its size in pixels."""

    title: str
    caption: str
    source: str
    width: int
    height: int

    @property
    def shown_px(self) -> int:
        """Width on a wide page, in CSS pixels of 1/96 inch."""
        return round(self.width * 96 / DPI)


def read_pictures(home: Path, study: str, *, is_tested: bool) -> list[Picture]:
    """The pictures in the study's folder, in the order of their index; empty if none were drawn."""
    folder = names.study_folder(home, study) / PICTURE_FOLDER
    entries = [
        entry
        for entry in read_json(folder / INDEX_FILE) or ()
        if (folder / entry["file"]).is_file() and not (is_tested and entry["file"] in _SHOWN_AS_FIGURES)
    ]
    images = [Image.open(folder / entry["file"]).convert("RGB") for entry in entries]
    return [
        Picture(
            title=entry["title"],
            caption=entry["caption"],
            source=f"data:image/webp;base64,{base64.b64encode(content).decode()}",
            width=image.width,
            height=image.height,
        )
        for entry, image, content in zip(entries, images, _fitting(images), strict=True)
    ]


def _fitting(images: Sequence[Image.Image]) -> list[bytes]:
    """All pictures as WebP, at the best quality with which they fit on the page."""
    encoded: list[bytes] = []
    for quality in QUALITIES:
        encoded = [_webp(image, quality) for image in images]
        if sum(map(len, encoded)) <= MAX_BYTES:
            break
    return encoded


def _webp(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=3)
    return buffer.getvalue()
