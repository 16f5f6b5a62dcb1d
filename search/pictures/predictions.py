"""A classifier's predictions on a set of images, and the images that the pictures show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.arrays import ImageSet, IntArray, UInt8Array
from search import names

GRID_IMAGES = 30
"""Number of images in the grid of predictions."""
MISTAKES = 20
"""Largest number of mistakes that are shown."""
_SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Class probabilities of N images, with the pixels of the K images that are shown."""

    source: str
    """Description of the images for captions: `validation images`, `test images (look 1)`."""
    classes: tuple[str, ...]
    labels_N: IntArray
    """Index of each image's true class."""
    probabilities_NC: npt.NDArray[np.float32]
    """Probability of each class for each image."""
    kept_K: IntArray
    """Indices of the images whose pixels are kept, ascending."""
    images_KHWC: UInt8Array
    """Pixels of the kept images."""
    names_N: npt.NDArray[np.str_] | None = None
    """File name of each image; None in files of versions that did not keep it."""

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def predicted_N(self) -> IntArray:
        """Index of the most probable class of each image."""
        return np.asarray(self.probabilities_NC.argmax(axis=1))

    @property
    def confidence_N(self) -> npt.NDArray[np.float32]:
        """Probability of the most probable class of each image."""
        return np.asarray(self.probabilities_NC.max(axis=1))

    @property
    def is_right_N(self) -> npt.NDArray[np.bool_]:
        """Whether the most probable class of each image is the true one."""
        return np.equal(self.predicted_N, self.labels_N)

    @property
    def grid(self) -> IntArray:
        """Indices of the images in the grid; pictures of a single image show the first."""
        return choose_grid(self.labels_N, len(self.classes))

    @property
    def mistakes(self) -> IntArray:
        """Indices of the mistakes that are shown, most confident first."""
        return ranked_mistakes(self.labels_N, self.probabilities_NC)[:MISTAKES]

    def images(self, chosen: IntArray) -> UInt8Array:
        """The pixels of `chosen` images, indices from `grid` or `mistakes`; shape (chosen, H, W, C)."""
        return self.images_KHWC[np.searchsorted(self.kept_K, chosen)]


def predictions_of(
    images: ImageSet,
    probabilities_NC: npt.NDArray[np.float32],
    classes: tuple[str, ...],
    source: str,
    names: Sequence[str] | None = None,
) -> Predictions:
    """Collect what the pictures need: all predictions, and the pixels of the images that are shown.

    `names` holds the file name of each image.
    """
    grid = choose_grid(images.labels_M, len(classes))
    kept_K = np.union1d(grid, ranked_mistakes(images.labels_M, probabilities_NC)[:MISTAKES])
    return Predictions(
        source=source,
        classes=classes,
        labels_N=images.labels_M,
        probabilities_NC=probabilities_NC,
        kept_K=kept_K,
        images_KHWC=images.pool_NHWC[images.rows_M[kept_K]],
        names_N=None if names is None else np.array(names, dtype=np.str_),
    )


def choose_grid(labels_N: IntArray, classes: int, count: int = GRID_IMAGES) -> IntArray:
    """Indices of images to show, independent of the predictions: one of each class in turn, drawn with a fixed seed.

    With more classes than `count`, the classes are drawn too. The result is shorter than `count` only if there are
    fewer images.
    """
    generator = np.random.default_rng(_SEED)
    members = [generator.permutation(np.flatnonzero(labels_N == label)) for label in range(classes)]
    shown = sorted(generator.permutation(classes)[:count])
    turns = range(max(len(members[label]) for label in shown))
    in_turn = [members[label][turn] for turn in turns for label in shown if turn < len(members[label])]
    return np.array(in_turn[:count], dtype=np.int64)


def ranked_mistakes(labels_N: IntArray, probabilities_NC: npt.NDArray[np.float32]) -> IntArray:
    """Indices of wrongly predicted images, the highest probability of the predicted class first."""
    wrong = np.flatnonzero(probabilities_NC.argmax(axis=1) != labels_N)
    return wrong[np.argsort(-probabilities_NC[wrong].max(axis=1), kind="stable")].astype(np.int64)


def look_file(home: Path, study: str, look: int) -> Path:
    """Path of the file that keeps the predictions of a look at the test set."""
    return names.study_folder(home, study) / f"look-{look}.npz"


def save_predictions(predictions: Predictions, path: Path) -> None:
    """Write predictions to a file, completely or not at all. Raises OSError if it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    values = {field.name: getattr(predictions, field.name) for field in fields(predictions)}
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in values.items() if value is not None}
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_predictions(path: Path) -> Predictions:
    """Read a file that `save_predictions` wrote, without unpickling."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return Predictions(source=str(arrays.pop("source")), classes=tuple(arrays.pop("classes").tolist()), **arrays)
