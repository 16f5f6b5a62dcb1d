"""What every part is given, and the data that it trains on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from data.arrays import ImageSet, SearchData
from data.batches import to_device
from data.errors import UserError
from models.preprocessing import Preprocessing
from search.trials.data_source import TrialData

CLASSES = 10
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
SEEN = Preprocessing(image_size=0, mean=MEAN, std=STD, interpolation="bilinear")
"""What random pictures are normalised with."""
_DISTINCT = 1_000
"""Random pictures that are drawn; a set of more repeats them."""
_SMOKE_PICTURES = 12
"""Pictures per class that a dry run makes up: of each, one is sealed and a few validate."""

Figures = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where a part measures, how much, and on which pictures."""

    device: torch.device
    smoke: bool
    """A dry run: everything is done once, as small as it can be; the figures mean nothing."""
    data: Path | None
    """CIFAR-10 as a folder of `train/<class>/*`."""
    large: Path | None
    """A folder of the same kind with pictures of about 224 px."""

    def choose(self, whole: int, smoke: int) -> int:
        """A size, or that of a dry run."""
        return smoke if self.smoke else whole

    @contextmanager
    def pictures(self, option: str) -> Iterator[Path]:
        """The folder given as `--data` or `--large`; a dry run makes its own. Raises UserError where there is none."""
        given: Path | None = getattr(self, option)
        if given is not None:
            yield given
        elif self.smoke:
            with TemporaryDirectory(prefix="sieve-benchmark-") as made:
                _make_pictures(Path(made))
                yield Path(made)
        else:
            raise UserError(f"this part needs --{option} FOLDER, with train/<class>/* in it")


class Part(Protocol):
    """Yields its figures as it gets them: what was yielded before a failure is kept."""

    def __call__(self, setting: Setting) -> Iterator[Figures]: ...


def random_data(device: torch.device, *, train: int, val: int, image_size: int) -> TrialData:
    """Random pictures and labels on the device, as a trial is given its own."""
    generator = np.random.default_rng(0)
    shape = (min(_DISTINCT, max(train, val)), image_size, image_size, 3)
    pool_NHWC = generator.integers(0, 256, shape, dtype=np.uint8)

    def images(count: int) -> ImageSet:
        rows_M, labels_M = np.arange(count) % len(pool_NHWC), generator.integers(0, CLASSES, count)
        return ImageSet(pool_NHWC=pool_NHWC, rows_M=rows_M, labels_M=labels_M)

    search = SearchData(
        train=images(train), val=images(val), classes=tuple(map(str, range(CLASSES))), mean=MEAN, std=STD,
        fingerprint="", split_hash="", sealed_fingerprint="", notes=(),
    )  # fmt: skip
    return TrialData(search=search, train=to_device(search.train, device), val=to_device(search.val, device))


def wait_for(device: torch.device) -> None:
    """Return when a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _make_pictures(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        place = folder / "train" / f"class{label}"
        place.mkdir(parents=True)
        for number in range(_SMOKE_PICTURES):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")
