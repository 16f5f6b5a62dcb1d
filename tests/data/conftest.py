"""Image folders of a few small pictures, made for each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.arrays import SearchData
from data.cache import open_search_data
from data.spec import DataSpec

MakeFolder = Callable[..., Path]
OpenData = Callable[..., SearchData]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """`make_folder({"train/ants": 5})` writes five different PNG pictures there and returns the root."""

    def make(counts: Mapping[str, int], *, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Path:
        root = tmp_path / "images"
        rng = np.random.default_rng(0)
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
                path = root / folder / f"{index:03}.png"
                Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
                # As old as a folder that was not written just now: only then is a file's hash remembered.
                os.utime(path, (1_600_000_000, 1_600_000_000))
        return root

    return make


@pytest.fixture
def cache_home(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def open_data(tmp_path: Path, cache_home: Path) -> OpenData:
    """`open_data(root, val_fraction=0.5)`: the search's data of a folder, 12x12 unless said otherwise."""

    def open_folder(root: Path, *, image_size: int | None = None, **spec: object) -> SearchData:
        search_spec = DataSpec(source=str(root), **spec)  # type: ignore[arg-type]
        opened = partial(open_search_data, search_spec, image_size=image_size, image_fit="crop")
        return opened(data_home=tmp_path / "sets", cache_home=cache_home)

    return open_folder
