"""A set that is not kept decoded: the same pictures, statistics, splits and batches as one that is."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from data.arrays import SearchData
from data.augment import Augmentation
from data.batches import Batch, EvalBatches, TrainBatches, to_device
from data.cache import open_search_data
from data.decode import UnreadableImage
from data.decoders import StreamedPool
from data.files import CacheLimit
from data.spec import DataSpec
from data.streamed import StreamedImages

CPU = torch.device("cpu")
EVERYTHING = Augmentation(
    flip=0.5, crop_padding=2, resized_crop=0.5, rotation=10, color_jitter=0.3, erasing=0.5, mixup=0.2, cutmix=1.0
)


@pytest.fixture
def root(make_folder) -> Path:
    folder = make_folder({"train/ants": 40, "train/bees": 30, "test/ants": 2, "test/bees": 2}, size=(14, 12))
    (folder / "train/ants/007.png").write_bytes(b"no picture")
    return folder


def opened(root: Path, home: Path, limit: CacheLimit | None = None) -> SearchData:
    spec = DataSpec(source=str(root))
    return open_search_data(spec, image_size=12, image_fit="crop", data_home=home, cache_home=home, limit=limit)


@pytest.fixture
def kept(root: Path, tmp_path: Path) -> SearchData:
    return opened(root, tmp_path / "kept")


@pytest.fixture
def streamed(root: Path, tmp_path: Path) -> SearchData:
    return opened(root, tmp_path / "streamed", CacheLimit(size_bytes=1000, processes=2))


def batches_of(data: SearchData, seed: int) -> list[Batch]:
    """One epoch of training and one of validation, as a trial goes through them."""
    shared = {"mean": data.mean, "std": data.std, "batch_size": 8}
    train = TrainBatches(to_device(data.train, CPU), augmentation=EVERYTHING, **shared)  # type: ignore[arg-type]
    val = EvalBatches(to_device(data.val, CPU), **shared)  # type: ignore[arg-type]
    next(iter(val))  # Looked at and left in the middle, as before a training.
    return [*train.epoch(torch.Generator().manual_seed(seed)), *val]


def test_batches_are_identical_to_those_of_kept_pictures(kept: SearchData, streamed: SearchData) -> None:
    assert isinstance(streamed.train.pool_NHWC, StreamedPool) and isinstance(kept.train.pool_NHWC, np.memmap)
    assert isinstance(to_device(streamed.train, CPU), StreamedImages)
    for seed in range(2):
        state = torch.get_rng_state()
        ours, theirs = batches_of(streamed, seed), batches_of(kept, seed)
        assert torch.equal(torch.get_rng_state(), state)  # What dropout draws from is left alone.
        assert len(ours) == len(theirs) == len(kept.train) // 8 + 2
        for own, other in zip(ours, theirs, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(own, other, strict=True) if a is not None and b is not None)


def test_split_statistics_and_what_is_left_out_are_the_same_and_no_picture_is_written(
    kept: SearchData, streamed: SearchData, tmp_path: Path
) -> None:
    for field in ("mean", "std", "classes", "fingerprint", "split_hash"):
        assert getattr(kept, field) == getattr(streamed, field)
    assert any("007.png" in note for note in streamed.notes)
    assert any("kept in the cache" in note for note in kept.notes)
    assert any("more than the 1,000 bytes of --cache-limit" in note for note in streamed.notes)
    assert not list((tmp_path / "streamed").rglob("images.npy")) and list((tmp_path / "kept").rglob("images.npy"))


def test_rows_are_decoded_in_the_order_asked_for(kept: SearchData, streamed: SearchData) -> None:
    rows = np.array([*kept.val.rows_M, *kept.train.rows_M[::-1]])
    np.testing.assert_array_equal(streamed.train.pool_NHWC[rows], kept.train.pool_NHWC[rows])
    assert streamed.train.pool_NHWC[rows[:0]].shape == (0, 12, 12, 3)


def test_pictures_that_are_kept_already_are_used_unless_a_limit_forbids_it(
    root: Path, kept: SearchData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.pixels._FREE_SHARE", 0.0)
    assert isinstance(opened(root, tmp_path / "kept").train.pool_NHWC, np.memmap)
    assert isinstance(opened(root, tmp_path / "elsewhere").train.pool_NHWC, StreamedPool)
    assert isinstance(opened(root, tmp_path / "kept", CacheLimit(size_bytes=0)).train.pool_NHWC, StreamedPool)


def test_a_file_that_is_gone_is_reported_and_the_following_files_are_read(
    root: Path, kept: SearchData, streamed: SearchData
) -> None:
    rows, pool = streamed.train.rows_M, streamed.train.pool_NHWC
    assert isinstance(pool, StreamedPool)
    gone = root / pool.files[rows[0]].name
    content = gone.read_bytes()
    gone.unlink()
    with pytest.raises(UnreadableImage, match="cannot be read"):
        pool[rows]
    gone.write_bytes(content)
    np.testing.assert_array_equal(pool[rows], kept.train.pool_NHWC[rows])


def test_a_killed_process_is_reported_and_replaced(kept: SearchData, streamed: SearchData) -> None:
    rows, pool = streamed.train.rows_M, streamed.train.pool_NHWC
    assert isinstance(pool, StreamedPool)
    others = set(multiprocessing.active_children())
    pool[rows[:1]]
    (decoder, _) = set(multiprocessing.active_children()) - others
    decoder.kill()
    with pytest.raises(RuntimeError, match="was killed"):
        pool[rows]
    np.testing.assert_array_equal(pool[rows], kept.train.pool_NHWC[rows])


DECODE_AND_DIE = """
import multiprocessing, os, signal, sys
from pathlib import Path
from data.cache import open_search_data
from data.files import CacheLimit
from data.spec import DataSpec
root, home = Path(sys.argv[1]), Path(sys.argv[2])
found = open_search_data(
    DataSpec(source=str(root)), image_size=12, image_fit="crop", data_home=home, cache_home=home,
    limit=CacheLimit(size_bytes=0, processes=2),
)
found.train.pool_NHWC[found.train.rows_M]
print(*[process.pid for process in multiprocessing.active_children()], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_decoding_processes_end_with_their_parent(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DECODE_AND_DIE, str(root), str(tmp_path / "home")]
    printed = subprocess.run(command, capture_output=True, text=True).stdout.split()
    assert len(printed) == 2
    _, alive = psutil.wait_procs([psutil.Process(int(pid)) for pid in printed if psutil.pid_exists(int(pid))], 20)
    assert not alive
