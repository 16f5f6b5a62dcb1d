"""Files read by processes: the same results as in this one, each file read once, and no process left behind."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from data import readers as module
from data.arrays import SearchData
from data.cache import open_search_data
from data.decode import Header, PixelFormat
from data.errors import UserError
from data.file_reader import FileReader, Target
from data.files import CacheLimit
from data.layout import FolderReader, Layout, scan_folder
from data.readers import Readers
from data.spec import DataSpec

FOLDERS = {"train/ants": 90, "train/bees": 70, "test/ants": 6, "test/bees": 6}
FORMAT = PixelFormat(image_size=12, image_fit="crop", channels=3)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sets are read by processes, too, and in small chunks."""
    monkeypatch.setattr(module, "_FILES_A_PROCESS", 10)
    monkeypatch.setattr(module, "_CHUNK", 7)
    monkeypatch.setattr(module, "cpu_cores", lambda: 3)


@pytest.fixture
def root(make_folder) -> Path:
    folder = make_folder(FOLDERS)
    (folder / "train/bees/003.png").write_bytes(b"no picture")
    copy = folder / "train/ants/050.png"
    (folder / "train/ants/051.png").write_bytes(copy.read_bytes())
    (folder / "test/ants/001.png").write_bytes((folder / "train/ants/060.png").read_bytes())
    return folder


def opened(root: Path, home: Path, limit: CacheLimit | None = None) -> SearchData:
    spec = DataSpec(source=str(root))
    return open_search_data(spec, image_size=None, image_fit="crop", data_home=home, cache_home=home, limit=limit)


class CountingReader:
    """Reads files below a folder and counts how often each is read."""

    def __init__(self, root: Path) -> None:
        self.times: Counter[str] = Counter()
        self._read = FolderReader(root)

    def __call__(self, name: str) -> bytes:
        self.times[name] += 1
        return self._read(name)


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.mark.parametrize("limit", [None, CacheLimit(size_bytes=0)])
@pytest.mark.parametrize("has_test_part", [True, False])
def test_processes_give_what_one_process_gives(
    root: Path, tmp_path: Path, request: pytest.FixtureRequest, limit: CacheLimit | None, has_test_part: bool
) -> None:
    folder = root if has_test_part else root / "train"
    here = opened(folder, tmp_path / "here", limit)
    request.getfixturevalue("processes")
    there = opened(folder, tmp_path / "there", limit)
    for field in ("classes", "mean", "std", "fingerprint", "split_hash", "sealed_fingerprint", "notes"):
        assert getattr(here, field) == getattr(there, field)
    for ours, theirs in ((here.train, there.train), (here.val, there.val)):
        np.testing.assert_array_equal(ours.rows_M, theirs.rows_M)
        np.testing.assert_array_equal(ours.pool_NHWC[ours.rows_M], theirs.pool_NHWC[theirs.rows_M])
    written = [
        {path.name: path.read_bytes() for path in (tmp_path / home).rglob("*.npy")} for home in ("here", "there")
    ]
    assert written[0] == written[1] and written[0]


def test_the_processes_work_and_end_with_the_opening(
    root: Path, tmp_path: Path, processes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def decode(self: Readers, *arguments: object) -> object:
        seen.append(len(children()))
        return decode_files(self, *arguments)  # type: ignore[arg-type]

    decode_files = Readers.decode
    monkeypatch.setattr(Readers, "decode", decode)
    before = children()
    opened(root, tmp_path / "home")
    assert seen == [len(before) + 3]
    assert children() == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sieve-data")]


def test_each_file_is_read_once_and_no_test_content_is_kept(root: Path, tmp_path: Path) -> None:
    layout, read = scan_folder(root), CountingReader(root)
    files = [file for file in layout.files if file.part == "train"]
    with Readers(replace(layout, read=read)) as readers:
        readers.hash_contents(layout.files)
        assert set(readers.headers(files)) == {Header((12, 12), False)}
        readers.decode(files, FORMAT, None)
        assert set(read.times) == {file.name for file in layout.files} and set(read.times.values()) == {1}
        readers.decode(layout.files, FORMAT, None)  # Neither test contents nor decoded ones were kept.
    assert set(read.times.values()) == {2}


def test_what_has_no_room_is_read_again_and_room_comes_back(root: Path) -> None:
    names = [f"train/ants/{number:03}.png" for number in range(4)]
    size, read = len((root / names[0]).read_bytes()), CountingReader(root)
    reader = FileReader(read, size + size // 2)
    reader.examine(names, decoded_later=True)
    reader.decode(names, FORMAT, None)
    assert [read.times[name] for name in names] == [1, 2, 2, 2]
    reader.examine(names[2:], decoded_later=True)
    reader.decode(names[2:], FORMAT, None)
    assert [read.times[name] for name in names] == [1, 2, 3, 4]


def test_contents_are_kept_by_the_process_that_decodes_them(root: Path, tmp_path: Path, processes: None) -> None:
    layout = scan_folder(root)
    files = [file for file in layout.files if file.part == "train"]
    with Readers(layout) as readers:
        readers.hash_contents(layout.files)
        for file in files:
            (root / file.name).unlink()
        decoded = readers.decode(files, FORMAT, None)
    assert list(decoded.unreadable) == ["train/bees/003.png"]


def test_the_first_of_several_files_that_cannot_be_read_is_named(root: Path, tmp_path: Path, processes: None) -> None:
    layout = scan_folder(root)
    for name in ("train/bees/060.png", "train/ants/070.png", "train/ants/080.png"):
        (root / name).unlink()
    with Readers(layout) as readers, pytest.raises(OSError) as caught:
        readers.hash_contents(layout.files)
    assert str(caught.value.filename).endswith("train/ants/070.png") and caught.value.errno == errno.ENOENT


def test_a_killed_process_is_reported_in_one_line(root: Path, processes: None) -> None:
    layout, others = scan_folder(root), children()
    with Readers(layout) as readers:
        readers.hash_contents(layout.files)
        (_, process, *_) = [child for child in children() if child not in others]
        process.kill()
        with pytest.raises(RuntimeError, match="was killed; is there enough memory"):
            readers.decode(layout.files, FORMAT, None)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sieve-data")]


def test_a_disk_that_a_process_finds_full_is_one_line(root: Path, tmp_path: Path, processes: None) -> None:
    layout: Layout = scan_folder(root)
    with Readers(layout) as readers, pytest.raises(OSError) as caught:
        readers.decode(layout.files, FORMAT, Target(Path("/dev/full"), 0))
    assert caught.value.errno == errno.ENOSPC


def test_decoding_works_after_only_some_headers_were_read(root: Path, processes: None) -> None:
    layout = scan_folder(root)
    with Readers(layout) as readers:
        headers = readers.headers(layout.files)
        assert next(headers) == Header((12, 12), False)
        headers.close()
        assert list(readers.decode(layout.files, FORMAT, None).unreadable) == ["train/bees/003.png"]


def test_a_file_named_like_a_library_in_the_working_folder_is_not_imported(
    root: Path, tmp_path: Path, processes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "numpy.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    assert opened(root, tmp_path / "home").train


def test_too_many_unreadable_files_are_refused_with_the_first_by_name(
    root: Path, tmp_path: Path, processes: None
) -> None:
    (root / "train/ants/079.png").write_bytes(b"also broken")
    with pytest.raises(UserError, match=r"2 of 158 images are unreadable, more than 1 %; the first is train/ants/079"):
        opened(root, tmp_path / "home")
