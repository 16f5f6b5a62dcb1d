"""The options of a command that decide which images are used, how they are divided, and how they are decoded."""

from __future__ import annotations

import argparse
from typing import Any

from data.catalog import DATASETS
from data.errors import UserError
from data.pixel_rule import MAX_PIXELS, check_background, parse_range
from data.source import typed_source
from data.spec import DataSpec
from studies.definition import Study

MOST_MEGAPIXELS = 100_000
"""The largest `--max-megapixels`; a larger one is taken for a number of pixels."""


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that select images, divide them and decode them."""
    parser.add_argument(
        "--data", metavar="FOLDER",
        help="image folder, table of labels such as labels.csv, hf:NAME, or a data set's name, e.g. cifar10 "
        "(default: the study's own)",
    )  # fmt: skip
    parser.add_argument(
        "--group", metavar="REGEX",
        help="keep images of one patient, burst or product in the same split; REGEX finds the group in the path, e.g. "
        "'patient-(\\d+)'; `folder` groups by folder, `column` by the column `group` of a table",
    )  # fmt: skip
    parser.add_argument(
        "--columns",
        metavar="NAMES",
        help="columns of a table, e.g. path=file,label=breed (default: found by their names)",
    )
    parser.add_argument(
        "--near-duplicates", choices=("keep", "drop"), default="keep",
        help="near-duplicates of validation or test images among the training images: keep and warn (default), or drop",
    )  # fmt: skip
    parser.add_argument(
        "--background", metavar="COLOUR", help="colour under transparent pixels, e.g. black or #808080 (default: white)"
    )
    parser.add_argument(
        "--value-range", metavar="LOW,HIGH",
        help="the values of black and of white in 16-bit, 32-bit and float images, e.g. 0,4095 "
        "(default: the smallest and the largest value in the training and validation images)",
    )  # fmt: skip
    parser.add_argument(
        "--max-megapixels", metavar="N", type=float,
        help=f"leave out images of more than N megapixels (default: {MAX_PIXELS / 1e6:.0f}; JPEG files: four times N)",
    )  # fmt: skip


def data_spec(study: Study | None, options: argparse.Namespace) -> DataSpec:
    """The images: those of `--data`, or the study's own. Raises UserError for an option that makes no sense."""
    source: str | None = options.data or (study.data if study else None)
    if source is None:
        name = f"study {study.name} has no data set of its own" if study else "which images?"
        raise UserError(f"{name}; give the images with --data FOLDER")
    if options.data or source not in DATASETS:  # A study's own `digits` is the data set, whatever folder lies here.
        source = typed_source(source)
    if options.background:
        check_background(options.background)
    megapixels = options.max_megapixels
    if megapixels is not None and not 0 < megapixels <= MOST_MEGAPIXELS:
        raise UserError(f"--max-megapixels {megapixels:g}: give a number above 0 and at most {MOST_MEGAPIXELS:,}")
    return DataSpec(
        source=source,
        **(_division(study) if study else {}),
        group=options.group or "",
        columns=options.columns or "",
        near_duplicates=options.near_duplicates,
        background=options.background or "",
        value_range=parse_range(options.value_range) if options.value_range else None,
        max_pixels=MAX_PIXELS if megapixels is None else round(megapixels * 1e6),
    )


def _division(study: Study) -> dict[str, Any]:
    """The fields of a specification that a study sets."""
    return {
        "split_seed": study.seed,
        "val_fraction": study.val_fraction,
        "folds": study.folds,
        "train_images": study.train_images,
        "imbalance": study.imbalance,
        "rare_class": study.rare_class,
    }
