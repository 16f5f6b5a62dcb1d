from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.folders import lay_out
from data.errors import UserError


def make_images(root: Path, per_class: int) -> Path:
    rng = np.random.default_rng(0)
    for name in ("train/ants", "train/bees", "test/ants", "test/bees"):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    return root


def laid_out(target: Path) -> dict[str, list[bytes]]:
    parts = ("train", "val", "test")
    return {part: [path.read_bytes() for path in sorted(target.glob(f"{part}/*/*"))] for part in parts}


def test_the_parts_share_no_image_and_none_comes_from_the_sets_own_test_images(tmp_path: Path) -> None:
    source = make_images(tmp_path / "source", 20)
    counts = lay_out(source, tmp_path / "target", images=20, val_share=0.2)
    found = laid_out(tmp_path / "target")
    assert counts == {"train": 16, "val": 4, "test": 2} == {part: len(images) for part, images in found.items()}
    every = [image for images in found.values() for image in images]
    own_test = {path.read_bytes() for path in source.glob("test/*/*")}
    assert max(Counter(every).values()) == 1 and not own_test & set(every)


def test_copies_are_used_once(tmp_path: Path) -> None:
    source = make_images(tmp_path / "source", 10)
    (source / "train/ants/copy.png").write_bytes((source / "train/ants/3.png").read_bytes())
    lay_out(source, tmp_path / "target", images=100, val_share=0.25)
    images = [image for part in laid_out(tmp_path / "target").values() for image in part]
    assert len(images) == len(set(images)) == 20


def test_the_split_is_the_same_every_time(tmp_path: Path) -> None:
    source = make_images(tmp_path / "source", 10)
    for name in ("one", "two"):
        lay_out(source, tmp_path / name, images=12, val_share=0.25)
    assert laid_out(tmp_path / "one") == laid_out(tmp_path / "two")


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        lay_out(tmp_path / "none", tmp_path / "target", images=12, val_share=0.25)
