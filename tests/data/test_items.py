"""Data that a function gives, with the same cache, split and seal as any other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data.cache import describe, open_search_data
from data.errors import UserError
from data.source import find_layout, typed_source
from data.spec import DataSpec

DATASET = """
import numpy as np
import torch

class Mine(torch.utils.data.Dataset):
    classes = ["cat", "dog"]

    def __len__(self):
        return 40

    def __getitem__(self, index):
        image = torch.from_numpy(np.random.default_rng(index).integers(0, 256, (3, 16, 16), dtype=np.uint8))
        return image, torch.tensor(index % 2), f"patient-{index // 4}"

def items():
    with open(__file__ + ".calls", "a") as calls:
        calls.write("x")
    return Mine()

def parts():
    return {"train": [(np.full((16, 16), 9 * n, np.uint8), "ab"[n % 2]) for n in range(20)], "test": gray()}

def gray():
    for n in range(6):
        yield np.random.default_rng(n).random((16, 16)), "ab"[n % 2]

def broken():
    raise RuntimeError("no disk")

def normalised():
    return [(np.full((16, 16, 3), -1.5), 0)]

def bare():
    return [np.zeros((16, 16, 3), np.uint8)]
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(DATASET)
    return path


def test_a_torch_dataset_is_searched_with_its_groups_and_written_once(module: Path, tmp_path: Path) -> None:
    spec = DataSpec(source=typed_source(f"{module}:items"))
    for _ in range(2):
        found = open_search_data(
            spec, image_size=None, image_fit="crop", data_home=tmp_path / "home", cache_home=tmp_path / "cache"
        )
    assert found.classes == ("cat", "dog")
    assert found.train.image_shape == (16, 16, 3)
    groups = find_layout(spec.source, tmp_path / "home").groups
    sides = [{groups[found.names[row]] for row in part.rows_M} for part in (found.train, found.val)]
    assert not sides[0] & sides[1]
    assert len(found.train) + len(found.val) == 32
    assert Path(f"{module}.calls").read_text() == "x"


def test_a_function_may_bring_its_own_test_part(module: Path, tmp_path: Path) -> None:
    spec = DataSpec(source=f"{module}:parts")
    assert describe(spec, tmp_path / "home").images == {"train": 20, "val": 0, "test": 6}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "broken() failed with RuntimeError: no disk"),
        ("missing", "has no function missing()"),
        ("normalised", "item 0: values of type float64; give uint8, or floats from 0 to 1 that are not normalised"),
        ("bare", "item 0: give (image, label) or (image, label, group), not ndarray"),
    ],
)
def test_what_is_wrong_with_a_function_is_one_line(module: Path, tmp_path: Path, function: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        find_layout(f"{module}:{function}", tmp_path / "home")
    assert "\n" not in str(raised.value)
    assert not [path for path in (tmp_path / "home").glob("*") if path.is_dir()]
