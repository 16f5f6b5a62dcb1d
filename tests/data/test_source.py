import os
from pathlib import Path

import pytest

from data.catalog import DATASETS
from data.errors import UserError
from data.source import find_layout, resolve


def test_an_unknown_name_is_refused_with_the_nearest_and_all_known_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Did you mean 'imagenette'\?") as raised:
        resolve("imagenete", tmp_path)
    assert all(name in str(raised.value) for name in DATASETS)
    assert "path of an image folder" in str(raised.value)
    assert not os.listdir(tmp_path)


def test_a_path_is_taken_as_it_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert resolve("~/pictures", tmp_path) == tmp_path / "pictures"
    assert resolve("./pictures", tmp_path) == tmp_path / "pictures"


def test_a_set_that_is_already_unpacked_is_used_without_a_download(make_folder) -> None:
    root = make_folder({"train/a": 2, "train/b": 2})
    cifar10 = root.rename(root.with_name("cifar10"))
    assert resolve("cifar10", cifar10.parent) == cifar10


def test_the_digits_come_without_a_folder(tmp_path: Path) -> None:
    layout = find_layout("digits", tmp_path)
    assert len(layout.files) == 1797
    assert len(layout.classes) == DATASETS["digits"].classes
    assert layout.read(layout.files[0].name).startswith(b"P5 8 8 255\n")
    assert not os.listdir(tmp_path)
