"""The settings that every part receives, and the data that it trains on."""

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
"""Mean and deviation that random pictures are normalised with."""
_DISTINCT = 1_000
"""Number of different random pictures; larger sets repeat them."""
_SMOKE_PICTURES = 12
"""Pictures per class in a dry run; one per class is sealed and a few validate."""

Figures = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The device, pictures and size of a measurement."""

    device: torch.device
    smoke: bool
    """Whether this is a dry run: each part runs once, as small as possible, and its figures mean nothing."""
    data: Path | None
    """CIFAR-10 as a folder of `train/<class>/*`."""
    large: Path | None
    """Pictures of about 224 px as a folder of `train/<class>/*`."""

    def choose(self, whole: int, smoke: int) -> int:
        """Return `smoke` in a dry run, `whole` otherwise."""
        return smoke if self.smoke else whole

    @contextmanager
    def pictures(self, option: str) -> Iterator[Path]:
        """Yield the folder of `--data` or `--large`; a dry run makes its own. Raises UserError if there is none."""
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
    """A function that measures a part and yields figures as it gets them; those before a failure are kept."""

    def __call__(self, setting: Setting) -> Iterator[Figures]:
        """Measure the part in this setting."""


def random_data(device: torch.device, *, train: int, val: int, image_size: int) -> TrialData:
    """Return `train` and `val` random pictures and labels on the device, in the form in which a trial gets its data."""
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
    """Wait until a GPU has finished all launched work; return at once on a CPU."""
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
