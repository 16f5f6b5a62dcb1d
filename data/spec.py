"""What a study says of its data: plain values that can be stored, compared and hashed."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


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
