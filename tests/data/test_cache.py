import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data.bulk
import data.pixels
from data.cache import describe, label_distribution
from data.errors import UserError
from data.sealed import open_test_images
from data.spec import DataSpec

FOLDERS = {"train/ants": 20, "train/bees": 10, "test/ants": 4, "test/bees": 4}

OPEN_IN_A_PROCESS = """
import sys
from pathlib import Path
from data.cache import open_search_data
from data.spec import DataSpec
root, home = Path(sys.argv[1]), Path(sys.argv[2])
decoded = []
found = open_search_data(
    DataSpec(source=str(root)), image_size=8, image_fit="crop", data_home=home, cache_home=home,
    progress=lambda label, done, total: decoded.append(label),
)
print(decoded.count("decoding images"), found.fingerprint, found.split_hash, int(found.train.pool_NHWC.sum()))
"""


def pixels_of(images) -> set[bytes]:
    return {images.pool_NHWC[row].tobytes() for row in images.rows_M}


def test_the_pictures_arrive_with_their_labels(make_folder, open_data) -> None:
    root = make_folder(FOLDERS)
    found = open_data(root)
    assert found.classes == ("ants", "bees")
    assert label_distribution(found) == {"train": {"ants": 16, "bees": 8}, "val": {"ants": 4, "bees": 2}}
    ants = {np.asarray(Image.open(path)).tobytes() for path in (root / "train/ants").iterdir()}
    for images in (found.train, found.val):
        for row, label in zip(images.rows_M, images.labels_M, strict=True):
            assert (images.pool_NHWC[row].tobytes() in ants) == (label == 0)


@pytest.mark.parametrize("folders", [FOLDERS, {"ants": 20, "bees": 20}])
def test_the_three_splits_share_no_image_byte_for_byte(make_folder, open_data, cache_home: Path, folders) -> None:
    root = make_folder(folders)
    for source in list(root.rglob("001.png")):
        for number, target in enumerate(list(root.rglob("002.png"))):
            shutil.copy(source, target.with_name(f"{source.parent.name}-{number}.png"))
    found = open_data(root)
    sealed = open_test_images(
        DataSpec(source=str(root)),
        classes=found.classes,
        channels=3,
        image_size=12,
        image_fit="crop",
        data_home=cache_home,
        cache_home=cache_home,
    )
    train, val, test = pixels_of(found.train), pixels_of(found.val), pixels_of(sealed.images)
    assert train and val and test
    assert not train & val and not train & test and not val & test


def test_mean_and_std_are_those_of_the_training_images_alone(make_folder, open_data) -> None:
    found = open_data(make_folder(FOLDERS))
    train_NHWC = found.train.pool_NHWC[found.train.rows_M] / 255
    assert found.mean == pytest.approx(train_NHWC.mean(axis=(0, 1, 2)), abs=1e-12)
    assert found.std == pytest.approx(train_NHWC.std(axis=(0, 1, 2)), abs=1e-12)
    every = found.train.pool_NHWC / 255
    assert found.mean != pytest.approx(every.mean(axis=(0, 1, 2)), abs=1e-12)


def test_a_constant_channel_does_not_divide_by_zero(make_folder, open_data) -> None:
    root = make_folder(FOLDERS)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        Image.new("RGB", (12, 12), (number, 7, 7)).save(path)
    assert open_data(root).std[1] == 1 / 255


@pytest.mark.parametrize(
    ("size", "mode", "asked", "shape"),
    [
        ((12, 12), "RGB", None, (12, 12, 3)),
        ((12, 12), "L", None, (12, 12, 1)),
        ((12, 10), "RGB", None, (224, 224, 3)),
        ((12, 10), "L", 6, (6, 6, 1)),
    ],
)
def test_size_and_channels_follow_the_pictures(make_folder, open_data, size, mode, asked, shape) -> None:
    assert open_data(make_folder(FOLDERS, size=size, mode=mode), image_size=asked).train.image_shape == shape


def test_one_colour_picture_makes_a_gray_set_colour(make_folder, open_data) -> None:
    root = make_folder(FOLDERS, mode="L")
    Image.new("RGB", (12, 12), (200, 0, 0)).save(root / "train/bees/009.png")
    assert open_data(root).channels == 3


def test_a_second_opening_decodes_nothing_and_maps_read_only(make_folder, open_data, monkeypatch) -> None:
    root = make_folder(FOLDERS)
    first = open_data(root)
    monkeypatch.setattr(data.bulk, "decode_file", None)  # In this process: the set is too small for others.
    again = open_data(root, val_fraction=0.5)
    assert again.fingerprint == first.fingerprint
    assert again.split_hash != first.split_hash
    assert isinstance(again.train.pool_NHWC, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again.train.pool_NHWC[0] = 0


def test_the_cache_is_rebuilt_when_the_folder_changes(make_folder, open_data) -> None:
    root = make_folder(FOLDERS)
    before = open_data(root)
    Image.new("RGB", (12, 12), (1, 2, 3)).save(root / "train/ants/000.png")
    after = open_data(root)
    assert after.fingerprint != before.fingerprint
    plain = np.full((12, 12, 3), (1, 2, 3), np.uint8).tobytes()
    assert plain in pixels_of(after.train) | pixels_of(after.val)
    assert plain not in pixels_of(before.train) | pixels_of(before.val)


@pytest.mark.parametrize("damage", ["cut", "removed", "killed"])
def test_a_cache_that_is_not_whole_is_rebuilt(make_folder, open_data, cache_home: Path, damage: str) -> None:
    root = make_folder(FOLDERS)
    before = open_data(root).train.pool_NHWC.copy()
    images = next(cache_home.rglob("images.npy"))
    if damage == "cut":
        os.truncate(images, 1000)
    elif damage == "removed":
        images.unlink()
    else:
        images.parent.rename(f"{images.parent}.part")
    assert (open_data(root).train.pool_NHWC == before).all()
    assert not list(cache_home.glob("*.part"))


def test_processes_that_open_at_once_decode_once_and_see_the_same(make_folder, cache_home: Path) -> None:
    root = make_folder({"train/a": 150, "train/b": 150})
    command = [sys.executable, "-c", OPEN_IN_A_PROCESS, str(root), str(cache_home)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(int(output[0]) > 0 for output in outputs) == [False, False, False, True]
    assert len({tuple(output[1:]) for output in outputs}) == 1


def test_an_unreadable_image_is_listed_and_left_out(make_folder, open_data, cache_home: Path) -> None:
    root = make_folder(FOLDERS)
    bad = root / "train/bees/005.png"
    bad.write_bytes(bad.read_bytes()[:200])
    found = open_data(root)
    assert len(found.train) + len(found.val) == 29
    assert any(note.startswith("train/bees/005.png: left out, unreadable (") for note in found.notes)
    report = json.loads(next(cache_home.glob("*.report.json")).read_text())
    assert [entry["path"] for entry in report["unreadable"]] == ["train/bees/005.png"]
    assert "truncated" in report["unreadable"][0]["reason"]
    assert open_data(root).notes == found.notes


def test_more_unreadable_images_than_one_percent_are_refused(make_folder, open_data, cache_home: Path) -> None:
    root = make_folder(FOLDERS)
    for name in ("003", "005"):
        (root / f"train/bees/{name}.png").write_text(f"broken {name}")
    with pytest.raises(
        UserError, match=r"2 of 30 images are unreadable, more than 1 %; the first is train/bees/003.png"
    ):
        open_data(root)
    report = next(cache_home.glob("*.report.json"))
    assert len(json.loads(report.read_text())["unreadable"]) == 2
    assert not list(cache_home.rglob("images.npy")) and not list(cache_home.glob("*.part"))


def test_a_picture_above_the_limit_is_used_once_the_limit_is_raised_and_not_after(
    make_folder, open_data, cache_home: Path
) -> None:
    root = make_folder(FOLDERS)
    Image.new("RGB", (60, 40), "red").save(root / "train/bees/large.png")
    for _ in range(2):
        found = open_data(root, image_size=12, max_pixels=1000)
        assert len(found.train) + len(found.val) == 30
        assert any("large.png: left out, unreadable (0 megapixels" in note for note in found.notes)
        found = open_data(root, image_size=12)
        assert len(found.train) + len(found.val) == 31
    # The name is that of earlier versions where the limit is the default.
    assert sorted("-max" in entry.name for entry in cache_home.glob("*.report.json")) == [False, True]


def test_wide_values_above_the_limit_count_once_the_limit_is_raised(make_folder, open_data) -> None:
    root = make_folder({"train/a": 6, "train/b": 6, "test/a": 1, "test/b": 1}, mode="L")
    for name, size, value in (("small", 12, 500), ("large", 40, 4000)):
        Image.fromarray(np.full((size, size), value, np.uint16)).save(root / f"train/a/{name}.png")
    ranges = [open_data(root, image_size=12, **spec).pixel_rule.value_range for spec in ({"max_pixels": 1000}, {})]
    assert ranges == [(500, 500), (500, 4000)]


def test_a_transparent_picture_is_found_whatever_its_name(make_folder, open_data) -> None:
    root = make_folder({})
    for label in "ab":
        (root / label).mkdir(parents=True)
        for number in range(6):
            shade = Image.new("RGB", (20 + number, 15), (40 * number, 0, ord(label)))
            shade.save(root / label / f"{number}.jpg", "JPEG")
    for number in range(3):
        Image.new("RGBA", (30, 15), (0, 0, 255, 30 * number)).save(root / f"b/z{number}.jpg", "PNG")
    assert any("transparent pixels become white" in note for note in open_data(root, image_size=12).notes)


def test_a_full_disk_is_one_line_and_leaves_no_half_cache(make_folder, open_data, cache_home, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(data.pixels.os, "fsync", full)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=f"{cache_home}: cannot write here: No space left on device"):
        open_data(make_folder(FOLDERS))
    assert not list(cache_home.rglob("images.npy"))


def test_a_home_that_cannot_be_written_is_one_line(make_folder, open_data, cache_home: Path) -> None:
    cache_home.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write here"):
        open_data(make_folder(FOLDERS))


def test_bad_input_writes_nothing(make_folder, open_data, cache_home: Path, tmp_path: Path) -> None:
    for root in (tmp_path / "nothing", make_folder({"train/a": 5})):
        with pytest.raises(UserError):
            open_data(root)
    assert not cache_home.exists() and not (tmp_path / "sets").exists()


def test_describing_reads_the_listing_and_writes_nothing(make_folder, tmp_path: Path) -> None:
    root = make_folder(FOLDERS)
    before = sorted(tmp_path.rglob("*"))
    description = describe(DataSpec(source=str(root)), tmp_path / "sets")
    assert description.images == {"train": 30, "val": 0, "test": 8}
    assert describe(DataSpec(source="imagenette"), tmp_path / "sets").download_url is not None
    assert sorted(tmp_path.rglob("*")) == before


def test_the_digits_open_as_gray_pictures(open_data) -> None:
    found = open_data("digits")
    assert found.train.image_shape == (8, 8, 1)
    assert len(found.classes) == 10
    assert found.train.pool_NHWC.max() == 255
