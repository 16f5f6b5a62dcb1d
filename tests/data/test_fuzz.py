"""Damaged pictures and odd folders: never a traceback, never a hang, never more memory than a picture may take."""

from __future__ import annotations

import io
import random
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data.decode import PixelRule, UnreadableImage, decode, pillow_warnings, read_header
from data.errors import UserError
from data.find_pictures import find_pictures
from data.layout import scan_folder

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MUTANTS = 150
"""Of each format in an ordinary run; `SIEVE_FUZZ=1000 pytest` makes more."""
RULE = PixelRule(max_pixels=4_000_000)
LIMIT_BYTES = 200 * 2**20
"""Above any picture that the rule lets through: 4 megapixels of RGBA, float64 and a copy."""


def _picture(kind: str) -> bytes:
    values = np.random.default_rng(5).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind)
    return stream.getvalue()


def _mutated(content: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        place = draw.randrange(len(damaged)) if draw.random() < 0.5 else draw.randrange(min(64, len(damaged)))
        action = draw.random()
        if action < 0.6:
            damaged[place] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
        elif action < 0.8:
            del damaged[place : place + draw.randrange(1, 9)]
        else:
            damaged[place:place] = draw.randbytes(draw.randrange(1, 9))
        if not damaged:
            return b""
    return bytes(damaged[: draw.randrange(len(damaged) + 1)]) if draw.random() < 0.15 else bytes(damaged)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_picture_is_decoded_or_unreadable_within_bounds(kind: str) -> None:
    import os

    content, draw = _picture(kind), random.Random(kind)
    count = int(os.environ.get("SIEVE_FUZZ", MUTANTS))
    longest_s, outcomes = 0.0, {"decoded": 0, "unreadable": 0}
    tracemalloc.start()
    try:
        with pillow_warnings():
            for _ in range(count):
                damaged, started = _mutated(content, draw), time.perf_counter()
                try:
                    pixels = decode(damaged, image_size=16, image_fit="crop", channels=3, rule=RULE)
                    assert pixels.shape == (16, 16, 3)
                    assert read_header(damaged).size
                    outcomes["decoded"] += 1
                except UnreadableImage as error:
                    assert "\n" not in str(error)
                    outcomes["unreadable"] += 1
                longest_s = max(longest_s, time.perf_counter() - started)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert min(outcomes.values()) > 0
    assert longest_s < 10
    assert peak_bytes < LIMIT_BYTES


_NAMES = st.sampled_from(
    [
        "train",
        "Test",
        "val",
        "a",
        "b",
        "cats",
        "images",
        "dev",
        "seg_train",
        "@eaDir",
        ".x",
        "runs",
        "é",
        "e\u0301",
        "1",
    ]
)
_FILES = st.sampled_from(["0.png", "1.jpg", "Thumbs.db", "labels.csv", "._0.png", "x.txt", "metadata.json"])
_TREES = st.recursive(
    st.dictionaries(_FILES, st.none(), max_size=3),
    lambda inner: st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)


def _build(tree: dict, folder: Path) -> int:
    """Make the tree; returns its number of visible pictures."""
    folder.mkdir(exist_ok=True)
    visible = 0
    for name, below in tree.items():
        if below is None:
            (folder / name).write_bytes(name.encode())
            visible += name in ("0.png", "1.jpg")
        else:
            found = _build(below, folder / name)
            visible += 0 if name in ("@eaDir", ".x") else found
    return visible


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=_TREES)
def test_any_tree_of_folders_is_listed_or_refused_in_one_line(tree: dict) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        visible = _build(tree, root)
        try:
            layout = scan_folder(root)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert len(layout.classes) >= 2
            assert len({file.name for file in layout.files}) == len(layout.files) <= visible
            assert all(layout.read(file.name) for file in layout.files)
            # Whatever is not used has a line: as many pictures as the notes count, or a folder that they name.
            if len(layout.files) < visible:
                assert any(word in note for note in layout.notes for word in ("not used", "left aside"))
        try:
            assert len(find_pictures([root])) == visible
        except UserError:
            assert visible == 0
