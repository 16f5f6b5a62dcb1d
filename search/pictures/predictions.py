"""What a classifier says of a set of images, and those images that the pictures show."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.arrays import ImageSet, IntArray, UInt8Array
from search import names

GRID_IMAGES = 30
MISTAKES = 20
_SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Class probabilities of a set of images, with the pixels of the few that are shown."""

    source: str
    """What the images are, for captions: `validation images`, `test images (look 1)`."""
    classes: tuple[str, ...]
    labels_N: IntArray
    """Index of each image's true class."""
    probabilities_NC: npt.NDArray[np.float32]
    kept_K: IntArray
    """Which of the N images were kept, ascending."""
    images_KHWC: UInt8Array

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def predicted_N(self) -> IntArray:
        """Index of the likeliest class."""
        return np.asarray(self.probabilities_NC.argmax(axis=1))

    @property
    def confidence_N(self) -> npt.NDArray[np.float32]:
        """Probability of the likeliest class."""
        return np.asarray(self.probabilities_NC.max(axis=1))

    @property
    def is_right_N(self) -> npt.NDArray[np.bool_]:
        """Whether the likeliest class is the true one."""
        return np.equal(self.predicted_N, self.labels_N)

    @property
    def grid(self) -> IntArray:
        """The images of the grid, of which the single-image pictures show the first."""
        return choose_grid(self.labels_N, len(self.classes))

    @property
    def mistakes(self) -> IntArray:
        """The mistakes that are shown, most confident first."""
        return most_confident_mistakes(self.labels_N, self.probabilities_NC)

    def images(self, chosen: IntArray) -> UInt8Array:
        """The pixels of images of `grid` or `mistakes`, shape (chosen, H, W, C)."""
        return self.images_KHWC[np.searchsorted(self.kept_K, chosen)]


def predictions_of(
    images: ImageSet, probabilities_NC: npt.NDArray[np.float32], classes: tuple[str, ...], source: str
) -> Predictions:
    """Keep what the pictures need of a set of images and what was predicted of them."""
    grid = choose_grid(images.labels_M, len(classes))
    kept_K = np.union1d(grid, most_confident_mistakes(images.labels_M, probabilities_NC))
    return Predictions(
        source=source,
        classes=classes,
        labels_N=images.labels_M,
        probabilities_NC=probabilities_NC,
        kept_K=kept_K,
        images_KHWC=images.pool_NHWC[images.rows_M[kept_K]],
    )


def choose_grid(labels_N: IntArray, classes: int, count: int = GRID_IMAGES) -> IntArray:
    """Images to show whatever was predicted of them: one of each class in turn, drawn with a fixed seed.

    Of more classes than `count`, some that are drawn too. Fewer than `count` only if there are no more images.
    """
    generator = np.random.default_rng(_SEED)
    members = [generator.permutation(np.flatnonzero(labels_N == label)) for label in range(classes)]
    shown = sorted(generator.permutation(classes)[:count])
    turns = range(max(len(members[label]) for label in shown))
    in_turn = [members[label][turn] for turn in turns for label in shown if turn < len(members[label])]
    return np.array(in_turn[:count], dtype=np.int64)


def most_confident_mistakes(
    labels_N: IntArray, probabilities_NC: npt.NDArray[np.float32], count: int = MISTAKES
) -> IntArray:
    """Wrongly predicted images, the highest probability of the predicted class first."""
    wrong = np.flatnonzero(probabilities_NC.argmax(axis=1) != labels_N)
    return wrong[np.argsort(-probabilities_NC[wrong].max(axis=1), kind="stable")][:count].astype(np.int64)


def look_file(home: Path, study: str, look: int) -> Path:
    """Where a look at the test set keeps its predictions."""
    return names.study_folder(home, study) / f"look-{look}.npz"


def save_predictions(predictions: Predictions, path: Path) -> None:
    """Write the file whole or not at all. Raises OSError where that cannot be done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    arrays: dict[str, Any] = {field.name: np.asarray(getattr(predictions, field.name)) for field in fields(predictions)}
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_predictions(path: Path) -> Predictions:
    """Read what `save_predictions` wrote; nothing in it is executed."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return Predictions(source=str(arrays.pop("source")), classes=tuple(arrays.pop("classes").tolist()), **arrays)
