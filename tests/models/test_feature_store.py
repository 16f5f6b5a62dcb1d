from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from models.training.feature_store import FeatureStore, FloatArray

ROWS = 300
"""More than one shard."""


def _numbers(start: int, stop: int) -> FloatArray:
    return np.repeat(np.arange(start, stop, dtype=np.float32)[:, None], 4, axis=1)


def _refuse(start: int, stop: int) -> FloatArray:
    raise AssertionError("computed again")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/values.npy"))


def test_what_was_computed_once_is_mapped_afterwards(tmp_path: Path) -> None:
    store, seen = FeatureStore(tmp_path), list[int]()
    first = store.open("a", ROWS, _numbers, lambda _label, done, _total: seen.append(done))
    again = store.open("a", ROWS, _refuse)

    assert first is not None and again is not None
    np.testing.assert_array_equal(again.values, _numbers(0, ROWS))
    assert isinstance(again.values, np.memmap) and again.values.dtype == np.float32
    assert seen[0] == 0 and seen[-1] == ROWS and seen == sorted(seen)


def test_maps_in_half_precision_keep_their_shape(tmp_path: Path) -> None:
    stored = FeatureStore(tmp_path).open("a", 70, lambda start, stop: np.ones((stop - start, 2, 3, 5), np.float16))

    assert stored is not None and stored.values.shape == (70, 2, 3, 5) and stored.values.dtype == np.float16


_WORKER = textwrap.dedent(
    """
    import pathlib, sys, time, numpy as np
    from models.training.feature_store import FeatureStore
    home, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
    shards = []
    def compute(start, stop):
        if stop - start > 1:
            print(start, flush=True)
            time.sleep(seconds)
        return np.repeat(np.arange(start, stop, dtype=np.float32)[:, None], 4, axis=1)
    stored = FeatureStore(home).open("a", 300, compute)
    assert (stored.values[:, 0] == np.arange(300)).all()
    """
)


def _start(home: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WORKER, str(home), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_share_the_work_and_no_shard_is_computed_twice(tmp_path: Path) -> None:
    workers = [_start(tmp_path, 0.5) for _ in range(2)]
    shards = [list(map(int, worker.communicate(timeout=60)[0].split())) for worker in workers]

    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(shards[0] + shards[1]) == [0, 64, 128, 192, 256]
    assert all(shards)


def test_the_shard_of_a_process_that_was_killed_is_computed_by_another(tmp_path: Path) -> None:
    with _start(tmp_path, 60) as killed:
        assert killed.stdout is not None and killed.stdout.readline() == "0\n"  # at work on the first shard
        killed.send_signal(signal.SIGKILL)

    stored = FeatureStore(tmp_path).open("a", ROWS, _numbers)

    assert stored is not None
    np.testing.assert_array_equal(stored.values, _numbers(0, ROWS))


def test_the_least_recently_used_array_makes_room_and_one_in_use_never_does(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, max_bytes=3 * ROWS * 16 + 1000)
    in_use = store.open("in-use", ROWS, _numbers)
    for key in ("old", "newer"):
        store.open(key, ROWS, _numbers)
        time.sleep(0.02)  # file systems tell times apart in milliseconds
    store.open("old", ROWS, _refuse)

    store.open("another", ROWS, _numbers)

    assert {path.parent.name for path in tmp_path.glob("*/values.npy")} == {"in-use", "old", "another"}
    assert in_use is not None and in_use.values[5, 0] == 5
    assert _bytes(tmp_path) <= 3 * ROWS * 16 + 1000


def test_an_array_larger_than_the_store_is_not_stored(tmp_path: Path) -> None:
    assert FeatureStore(tmp_path, max_bytes=1000).open("a", ROWS, _numbers) is None
    assert not list(tmp_path.glob("*/values.npy"))


def test_an_error_while_computing_leaves_what_can_be_gone_on_from(tmp_path: Path) -> None:
    def fails_late(start: int, stop: int) -> FloatArray:
        if start >= 128:
            raise RuntimeError("out of memory")
        return _numbers(start, stop)

    store, computed = FeatureStore(tmp_path), list[int]()
    with pytest.raises(RuntimeError, match="out of memory"):
        store.open("a", ROWS, fails_late)

    def counted(start: int, stop: int) -> FloatArray:
        computed.append(start)
        return _numbers(start, stop)

    stored = store.open("a", ROWS, counted)
    assert stored is not None and computed == [128, 192, 256]
    np.testing.assert_array_equal(stored.values, _numbers(0, ROWS))


@pytest.mark.parametrize("complete", [True, False])
def test_an_array_that_was_deleted_in_part_is_computed_again(tmp_path: Path, complete: bool) -> None:
    """A process may be killed between the files of an array that it deletes."""
    FeatureStore(tmp_path).open("a", ROWS, _numbers)
    (tmp_path / "a" / "values.npy").unlink()
    if not complete:
        (tmp_path / "a" / "complete.json").unlink()

    stored = FeatureStore(tmp_path).open("a", ROWS, _numbers)

    assert stored is not None
    np.testing.assert_array_equal(stored.values, _numbers(0, ROWS))


@pytest.mark.parametrize("spoil", [lambda home: home.touch(), lambda home: home.symlink_to("/dev/null")])
def test_a_home_that_cannot_be_written_to_is_one_clear_line(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path / "home")

    with pytest.raises(UserError, match=r"home: cannot write here: .*; free some space or choose another folder"):
        FeatureStore(tmp_path / "home").open("a", ROWS, _numbers)


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.open("a", ROWS, _numbers)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else pytest.skip("needs /proc")

    for _ in range(5):
        store.open("a", ROWS, _refuse)

    assert len(os.listdir("/proc/self/fd")) == before
