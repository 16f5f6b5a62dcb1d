from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from data.cache import open_search_data
from data.layout import scan_folder
from data.outliers import find_outliers
from data.spec import DataSpec
from tests.data.test_near_duplicates import scene


def test_what_stands_out_is_named_with_its_kind(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number in range(40):
            noise = np.random.default_rng(number).integers(-20, 20, (96, 96, 3))
            textured = np.clip(np.asarray(scene(number + 100 * (label == "b"))) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(textured).save(root / label / f"{number:03}.png")
    Image.new("RGB", (96, 96), (2, 2, 2)).save(root / "a/dark.png")
    scene(7, 900).save(root / "a/large.png")
    scene(8).filter(ImageFilter.GaussianBlur(20)).save(root / "b/blurred.png")
    data = open_search_data(
        DataSpec(source=str(root), test_fraction=0.01, val_fraction=0.01),
        image_size=96, image_fit="crop", data_home=tmp_path, cache_home=tmp_path / "c",
    )  # fmt: skip
    rows = np.concatenate([data.train.rows_M, data.val.rows_M])
    found = {(o.name, o.kind) for o in find_outliers(data.train.pool_NHWC, rows, data.names, scan_folder(root).read)}
    assert ("a/large.png", "large") in found
    assert {("a/dark.png", "blurred"), ("b/blurred.png", "blurred")} <= found
    assert {name for name, _ in found} <= {"a/dark.png", "a/large.png", "b/blurred.png"}
    assert any("1 of" in note and "with a single colour (a/dark.png)" in note for note in data.notes)
