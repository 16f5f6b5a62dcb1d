"""Which folder names mean a part of a data set: `train`, `Testing`, `seg_train`, `valid_images`."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

Part = Literal["train", "val", "test"]

_PARTS: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "trainset", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "valset", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "tst", "holdout"), "test"),
}
_FILLERS = frozenset({"data", "dataset", "folder", "images", "image", "img", "imgs", "part", "seg", "set", "split"})
"""Words beside a part's name that do not change what the folder is."""
GENERIC_NAMES = _FILLERS | {"photos", "pictures", "classes"}
"""Names of a folder that can lie between a part, or the root, and its class folders."""


def same_name(name: str) -> str:
    """The name in the form in which names are compared: NFC, the form that most systems but macOS write."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_part_names(names: Sequence[str]) -> dict[str, Part]:
    """Those of the folders side by side whose names mean a part, and which.

    A name that only contains a part's name counts where another part's folder has the same rest: `coco_train` beside
    `coco_test`, but not `steam_train` beside `test_tube`.
    """
    found: dict[str, Part] = {}
    by_rest: dict[str, dict[str, Part]] = defaultdict(dict)
    for name in names:
        words = re.findall(r"[^\W\d_]+|\d+", same_name(name).casefold())
        parts = [word for word in words if word in _PARTS]
        rest = [word for word in words if word not in _PARTS]
        if len(parts) != 1:
            continue
        if _FILLERS.issuperset(rest):
            found[name] = _PARTS[parts[0]]
        else:
            by_rest[" ".join(rest)][name] = _PARTS[parts[0]]
    for group in by_rest.values():
        if "train" in group.values() and len(set(group.values())) > 1:
            found |= group
    return found
