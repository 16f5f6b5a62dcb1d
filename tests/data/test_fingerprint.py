import os
from pathlib import Path

import pytest

from data.errors import UserError
from data.fingerprint import content_hashes as hashes_of
from data.fingerprint import fingerprint
from data.layout import Layout, scan_folder
from data.progress import Progress
from data.readers import Readers

FOLDERS = {"train/a": 3, "train/b": 3}


def content_hashes(layout: Layout, cache_home: Path, progress: Progress | None = None) -> dict[str, str]:
    with Readers(layout) as readers:
        return hashes_of(readers, cache_home, progress)


def test_a_second_start_reads_no_file_again(make_folder, cache_home: Path) -> None:
    layout = scan_folder(make_folder(FOLDERS))
    first = content_hashes(layout, cache_home)
    read: list[str] = []
    again = content_hashes(layout, cache_home, progress=lambda label, done, total: read.append(label))
    assert again == first
    assert read == []


def test_a_changed_file_alone_is_read_again(make_folder, cache_home: Path) -> None:
    root = make_folder(FOLDERS)
    before = content_hashes(scan_folder(root), cache_home)
    (root / "train/a/001.png").write_bytes(b"changed")
    totals: set[int] = set()
    after = content_hashes(scan_folder(root), cache_home, progress=lambda label, done, total: totals.add(total))
    assert totals == {1}
    assert {name for name in before if before[name] != after[name]} == {"train/a/001.png"}


def test_a_file_written_just_now_is_not_trusted_to_its_time_stamp(make_folder, cache_home: Path) -> None:
    root = make_folder(FOLDERS)
    path = root / "train/a/001.png"
    path.write_bytes(b"first")
    before = content_hashes(scan_folder(root), cache_home)
    stamp = path.stat().st_mtime_ns
    path.write_bytes(b"later")
    os.utime(path, ns=(stamp, stamp))
    assert content_hashes(scan_folder(root), cache_home)["train/a/001.png"] != before["train/a/001.png"]


def test_the_fingerprint_is_of_names_and_contents_in_any_order(make_folder, cache_home: Path) -> None:
    root = make_folder(FOLDERS)
    layout = scan_folder(root)
    hashes = content_hashes(layout, cache_home)
    before = fingerprint(layout.files, hashes)
    assert fingerprint(layout.files[::-1], hashes) == before
    (root / "train/a/001.png").rename(root / "train/a/009.png")
    renamed = scan_folder(root)
    assert fingerprint(renamed.files, content_hashes(renamed, cache_home)) != before


def test_a_half_written_manifest_is_written_anew(make_folder, cache_home: Path) -> None:
    layout = scan_folder(make_folder(FOLDERS))
    first = content_hashes(layout, cache_home)
    manifest = next((cache_home / "manifests").glob("*.json"))
    manifest.write_text(manifest.read_text()[:40])
    assert content_hashes(layout, cache_home) == first


def test_a_file_that_vanished_is_named(make_folder, cache_home: Path) -> None:
    root = make_folder(FOLDERS)
    layout = scan_folder(root)
    (root / "train/b/002.png").unlink()
    with pytest.raises(UserError, match=r"train/b/002.png: cannot be read"):
        content_hashes(layout, cache_home)


def test_a_file_name_that_is_not_utf_8_does_no_harm(make_folder, cache_home: Path) -> None:
    root = make_folder(FOLDERS)
    os.rename(root / "train/a/001.png", os.fsencode(root / "train/a") + b"/caf\xe9.png")
    layout = scan_folder(root)
    hashes = content_hashes(layout, cache_home)
    assert content_hashes(layout, cache_home) == hashes
    assert len(fingerprint(layout.files, hashes)) == 64
