"""The data that a study asks for, as plain values that can be stored, compared and hashed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from data.pixel_rule import MAX_PIXELS


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DataSpec:
    """Which images, and how they are divided. The same values always give the same split."""

    source: str
    """A name in `data.catalog.DATASETS`, or the absolute path of an image folder."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of each class set aside for validation, where the source brings no validation set."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of each class sealed as the test set, where the source brings none."""
    folds: Annotated[int, Field(ge=0)] = 0
    """0: one validation set. k >= 2: k folds of the training images; `val_fraction` is then not used."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which of the k folds is the validation set."""
    train_images: Annotated[int, Field(ge=0)] = 0
    """Use only so many images, drawn per class from the seed, before the split. 0: all."""
    imbalance: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    """Keep so few training images of `rare_class` that the largest class has so many times as many. 1: keep all.
    Validation and test images are never cut."""
    rare_class: str = ""
    """Whose training images `imbalance` cuts. Empty: the smallest class's, of equal ones the last one's."""
    group: str = ""
    """Which images stay together in every split: `folder`, `column`, or a regular expression over the files' names.
    Empty: each image for itself, or what the source itself groups."""
    columns: str = ""
    """Names of a table's columns, e.g. `path=file,label=breed`. Empty: those that are found."""
    near_duplicates: Literal["keep", "drop"] = "keep"
    """`drop`: no image is trained on that is nearly the same as a validation or test image."""
    background: str = ""
    """Colour under transparent pixels. Empty: white."""
    value_range: tuple[float, float] | None = None
    """Values of 16-bit, 32-bit and floating-point images that become black and white. None: their own least and largest
    among the searched images."""
    max_pixels: Annotated[int, Field(gt=0)] = MAX_PIXELS
    """The most pixels of one image that are decoded."""
