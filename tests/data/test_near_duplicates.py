"""Near-duplicates: the hash is the library's, slight changes are found, other pictures are not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from data.cache import open_search_data
from data.near_duplicates import clusters, near_pairs, signatures
from data.spec import DataSpec


def scene(number: int, size: int = 96) -> Image.Image:
    """A picture of shapes, as different from the others as photographs are."""
    draw = np.random.default_rng(number)
    coarse = draw.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def changed(image: Image.Image, number: int) -> Image.Image:
    """The picture after another compression, a little brighter and cut by a pixel, as in a burst."""
    draw = np.random.default_rng(1000 + number)
    brighter = ImageEnhance.Brightness(image).enhance(draw.uniform(0.9, 1.1))
    left, top = draw.integers(0, 2, 2).tolist()
    stream = io.BytesIO()
    brighter.crop((left, top, image.width - 1 + left, image.height - 1 + top)).save(stream, "JPEG", quality=85)
    return Image.open(stream).resize(image.size)


def pixels(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image.resize((32, 32), Image.Resampling.BOX)) for image in images])


def bursts(root: Path, folders: dict[str, int], burst: int, *, first: int = 0, take: int = 0) -> None:
    """`burst` changed versions of each of so many scenes in every folder."""
    number = first
    for folder, scenes in folders.items():
        (root / folder).mkdir(parents=True)
        for _ in range(scenes):
            for version in range(burst):
                changed(scene(number), 100 * number + version + take).save(
                    root / folder / f"s{number:03}-{version}.png"
                )
            number += 1


def test_the_hash_is_that_of_the_library() -> None:
    imagehash = pytest.importorskip("imagehash")
    images_NHWC = pixels([scene(number) for number in range(50)])
    own = signatures(images_NHWC).hashes_N
    for image, bits in zip(images_NHWC, own, strict=True):
        library = imagehash.phash(Image.fromarray(image)).hash.flatten()
        assert np.packbits(library).view(np.uint64)[0] == bits


def test_changed_versions_are_found_and_other_scenes_are_not() -> None:
    originals = [scene(number) for number in range(60)]
    versions = [changed(image, number) for number, image in enumerate(originals)]
    one, other = signatures(pixels(originals)), signatures(pixels(versions))
    found = near_pairs(one, other)
    assert len({int(row) for row, place in found if row == place}) >= 57
    assert all(row == place for row, place in found.tolist())
    assert len(near_pairs(one)) == 0


def test_pictures_that_show_nothing_are_not_compared() -> None:
    blank = np.zeros((5, 32, 32, 3), np.uint8)
    assert len(near_pairs(signatures(blank))) == 0


def test_pairs_that_share_a_picture_are_one_cluster() -> None:
    assert clusters(np.array([[0, 4], [4, 9], [2, 3]])) == [[0, 4, 9], [2, 3]]
    assert clusters(np.empty((0, 2), np.int64)) == []


def _open(root: Path, home: Path, **spec: object):
    return open_search_data(
        DataSpec(source=str(root), **spec),
        image_size=64,
        image_fit="crop",
        data_home=home,
        cache_home=home,
        compare="usual",
    )


def test_bursts_across_the_splits_are_reported_unasked_and_grouping_cures_it(tmp_path: Path) -> None:
    bursts(tmp_path / "set", {"a": 12, "b": 12}, 10)
    found = _open(tmp_path / "set", tmp_path / "home")
    warned = [note for note in found.notes if note.startswith("warning:") and "nearly the same as a training" in note]
    assert ["validation" in warned[0], "test" in warned[1]] == [True, True]
    grouped = _open(tmp_path / "set", tmp_path / "home", group=r"s\d+")
    assert not [note for note in grouped.notes if "nearly the same as a training" in note]
    assert len(grouped.near_duplicates) >= 10


def test_near_duplicates_of_validation_and_test_can_be_left_out_of_training(tmp_path: Path) -> None:
    bursts(tmp_path / "set", {f"train/{c}": 15 for c in "ab"}, 1)
    for number, label in enumerate("ab"):
        bursts(tmp_path / "set", {f"test/{label}": 3}, 1, first=15 * number, take=50)
    kept = _open(tmp_path / "set", tmp_path / "home")
    dropped = _open(tmp_path / "set", tmp_path / "home", near_duplicates="drop")
    names = {dropped.names[row] for row in dropped.train.rows_M}
    repeated = {f"train/a/s{n:03}-0.png" for n in range(3)} | {f"train/b/s{n:03}-0.png" for n in range(15, 18)}
    validated = {kept.names[row] for row in kept.val.rows_M}
    missed = names & repeated
    assert len(missed) <= 1
    assert len(kept.train) - len(dropped.train) == len(repeated - validated - missed) > 0
    assert len(kept.val) == len(dropped.val)
    assert kept.split_hash != dropped.split_hash and kept.fingerprint == dropped.fingerprint
    assert any("nearly the same as a validation or test image" in note for note in dropped.notes)


def test_another_background_is_compared_anew(tmp_path: Path) -> None:
    for label in range(2):
        (tmp_path / "set" / "ab"[label]).mkdir(parents=True)
        for number in range(6):
            shape = scene(10 * label + number)
            for version in range(2):
                black = Image.new("RGBA", shape.size)
                black.putalpha(changed(shape, version).convert("L"))
                black.save(tmp_path / "set" / "ab"[label] / f"{number}-{version}.png")
    found = [_open(tmp_path / "set", tmp_path / "home", background=color) for color in ("black", "white")]
    assert not found[0].near_duplicates and found[1].near_duplicates


def test_no_pixel_of_a_test_image_is_written_by_the_comparison(tmp_path: Path) -> None:
    bursts(tmp_path / "set", {f"train/{c}": 6 for c in "ab"} | {f"test/{c}": 3 for c in "ab"}, 1)
    _open(tmp_path / "set", tmp_path / "home")
    arrays = [np.load(path) for path in (tmp_path / "home").rglob("images.npy")]
    assert [len(array) for array in arrays] == [12]
    written = [path for path in (tmp_path / "home").rglob("*.json") if "sealed" in path.parts or "near" in path.name]
    assert written and all(path.stat().st_size < 2000 for path in written)
