"""Sets of the Hugging Face hub, downloaded from a folder in its place."""

from __future__ import annotations

import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from data.errors import UserError
from data.layout import Layout
from data.source import find_layout
from tests.data.parquet_files import write_parquet

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which repositories are folders; `owner/pets` is there."""
    root = tmp_path / "hub"
    write_parquet(root / "owner/pets/data", "train", 12)
    write_parquet(root / "owner/pets/data", "test", 4)

    def snapshot_download(repository: str, *, repo_type: str, local_dir: Path, allow_patterns: list[str]) -> None:
        assert repo_type == "dataset"
        if not (root / repository).is_dir():
            raise ConnectionError("no such repository\nmore lines")
        for path in (root / repository).rglob("*.parquet"):
            name = path.relative_to(root / repository)
            if any(fnmatch(name.as_posix(), pattern) for pattern in allow_patterns):
                (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, local_dir / name)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return root


def _counts(layout: Layout) -> tuple[int, int]:
    return layout.count("train"), layout.count("test")


@pytest.mark.parametrize("whole_first", [True, False])
def test_a_split_is_itself_whatever_else_was_downloaded(whole_first: bool, tmp_path: Path) -> None:
    expected = {"hf:owner/pets": (12, 4), "hf:owner/pets:train": (12, 0)}
    for source in sorted(expected, reverse=not whole_first):
        assert _counts(find_layout(source, tmp_path / "home")) == expected[source]


def test_a_later_file_of_the_hub_is_used(hub: Path, tmp_path: Path) -> None:
    find_layout("hf:owner/pets", tmp_path / "home")
    write_parquet(hub / "owner/pets/data", "test", 6)
    assert _counts(find_layout("hf:owner/pets", tmp_path / "home")) == (12, 6)


def test_labels_are_the_names_that_the_hub_stores(tmp_path: Path) -> None:
    assert find_layout("hf:owner/pets:train", tmp_path).classes == ("cat", "dog")


def test_a_set_that_cannot_be_downloaded_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hf:owner/nothing: cannot be downloaded .* give --data FOLDER") as raised:
        find_layout("hf:owner/nothing", tmp_path)
    assert "\n" not in str(raised.value)


def test_a_split_without_files_is_named_even_if_others_were_downloaded(tmp_path: Path) -> None:
    find_layout("hf:owner/pets", tmp_path)
    with pytest.raises(UserError, match="has no parquet files for split validation; give another"):
        find_layout("hf:owner/pets:validation", tmp_path)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'sieve-search\[hf\]'"):
        find_layout("hf:owner/pets", tmp_path)
