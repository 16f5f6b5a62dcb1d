"""Report problems in a set of images, before you spend hours on a search.

    sieve check-data --data photos
    sieve check-data --study NAME

It finds near-duplicates within and across training, validation and test images, images under two labels, images of
one colour, outliers in size, brightness and sharpness, unreadable images and small classes. With --study it also ranks
probable label errors by the finalists' predictions on images that they were not trained on; with more folds, more
images are checked. If a study's images were moved, add their new folder with --data. All lists are written as CSV
files.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data.arrays import SearchData
from data.cache import open_search_data
from data.errors import UserError
from data.files import write_csv, write_json, writing_below
from data.outliers import Outlier, find_outliers
from data.outputs import check_output_folder, output_folder
from data.progress import Progress
from data.source import find_layout
from data.spec import DataSpec
from data.text import listed, shown_name
from search import names
from search.cli import CommandParser, command_parser, main_guard
from search.report.image_problems import CHECK_FOLDER, SUMMARY_FILE
from search.settings import Settings, add_cache_argument, enter_home
from search.stage.moved_pictures import locate_images
from search.store.find import find_study
from search.store.storage import open_storage
from search.supervisor.data_options import add_data_arguments, data_spec
from search.terminal import DataProgress, print_json
from search.text import plural
from search.verdict.held_out import FILE, HeldOut, find_label_errors

_SMALL_CLASS, _SMALL_SHARE = 20, 0.1
"""A class is small below so many training images, and below this share of the median class."""
_NAMED = 5


def check_data(settings: Settings, spec: DataSpec, folder: Path | None, progress: Progress) -> dict[str, Any]:
    """What is wrong with the images of `spec`, as `--json` prints it.

    Writes lists and the result to `folder`, by default `check-data/` in the home. Raises UserError for images that
    cannot be searched, or if `folder` holds files that Sieve did not write.
    """
    return _check(settings, spec, folder, settings.home / CHECK_FOLDER, lambda: None, progress)


def check_study(
    settings: Settings, study: str, data: str | None, folder: Path | None, progress: Progress
) -> dict[str, Any]:
    """The same for the images of a study, with its probable label errors.

    `data` is the folder to which the images were moved. The lists are by default in the study's folder, where its
    report finds them. Raises UserError if there is no such study, too.
    """
    own = names.study_folder(settings.home, study) / CHECK_FOLDER
    storage = open_storage(settings.storage_url, create=False)
    try:
        record = locate_images(storage, settings, find_study(storage, study), data, progress)

        def find_errors() -> HeldOut | None:
            return find_label_errors(settings, storage, record, progress)

        return _check(settings, record.data.spec, folder, own, find_errors, progress)
    finally:
        storage.close()


def _check(
    settings: Settings,
    spec: DataSpec,
    output: Path | None,
    own: Path,
    find_errors: Callable[[], HeldOut | None],
    progress: Progress,
) -> dict[str, Any]:
    if output is not None:
        check_output_folder(output)
    errors = find_errors()
    layout = find_layout(spec.source, settings.data_home, progress, columns=spec.columns)
    data = open_search_data(
        replace(spec, near_duplicates="keep"),
        image_size=None,
        image_fit="crop",
        data_home=settings.data_home,
        cache_home=settings.cache_home,
        progress=progress,
        limit=settings.cache_limit,
        layout=layout,
        compare="all",
    )
    rows_M = np.concatenate([data.train.rows_M, data.val.rows_M])
    outliers = find_outliers(data.train.pool_NHWC, rows_M, data.names, layout.read, progress)
    result = {
        "data": {"source": spec.source, "classes": len(data.classes), "train": len(data.train), "val": len(data.val)},
        "notes": list(data.notes),
        "near_duplicates": {
            "clusters": len(data.near_duplicates),
            "images": sum(map(len, data.near_duplicates)),
            "largest": [[shown_name(data.names[row]) for row in rows] for rows in data.near_duplicates[:_NAMED]],
        },
        "small_classes": small_classes(data),
        "outliers": _outlier_summary(outliers),
        "label_errors": None if errors is None else _error_summary(errors),
        "folder": str(output or own),
    }
    with output_folder(output) if output else nullcontext(own) as folder, writing_below(folder):
        write_csv(folder / "near-duplicates.csv", ("cluster", "image", "part"), _cluster_lines(data))
        write_csv(folder / "outliers.csv", Outlier._fields, outliers)
        if errors:
            errors.write(folder / FILE)
        write_json(folder / SUMMARY_FILE, result)
    return result


def small_classes(data: SearchData) -> dict[str, int]:
    """Classes with too few training images to learn from, and how many they have."""
    counts_C = data.train.class_counts(len(data.classes))
    limit = min(_SMALL_CLASS, max(2.0, float(np.median(counts_C))))
    small = (counts_C < limit) | (counts_C < _SMALL_SHARE * np.median(counts_C))
    return {data.classes[label]: int(counts_C[label]) for label in np.flatnonzero(small).tolist()}


def _cluster_lines(data: SearchData) -> Iterable[tuple[object, ...]]:
    val = set(data.val.rows_M.tolist())
    for number, cluster in enumerate(data.near_duplicates):
        for row in cluster:
            yield number, shown_name(data.names[row]), "val" if row in val else "train"


def _outlier_summary(outliers: Sequence[Outlier]) -> dict[str, Any]:
    counts = Counter(outlier.kind for outlier in outliers)
    return {
        kind: {"images": count, "farthest": [shown_name(o.name) for o in outliers if o.kind == kind][:_NAMED]}
        for kind, count in sorted(counts.items())
    }


def _error_summary(found: HeldOut) -> dict[str, Any]:
    return {
        "images": found.images,
        "confident": sum(error.is_confident for error in found.errors),
        "first": [
            {"image": shown_name(error.name), "label": error.label, "suggestion": error.suggestion}
            for error in found.errors[: 4 * _NAMED]
        ],
    }


def _show(result: dict[str, Any]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for note in result["notes"]:
        console.print(note, markup=False)
    near = result["near_duplicates"]
    console.print(
        f"near-duplicates: {plural(near['images'], 'image')} in {plural(near['clusters'], 'cluster')}", markup=False
    )
    for cluster in near["largest"]:
        console.print(f"  {listed(cluster)}", markup=False)
    small = [f"{name} ({count})" for name, count in result["small_classes"].items()]
    if small:
        console.print(f"few training images: {listed(small, 20)}", markup=False)
    for kind, found in result["outliers"].items():
        console.print(f"{plural(found['images'], 'image')} unusually {kind}: {listed(found['farthest'])}", markup=False)
    errors = result["label_errors"]
    if errors:
        console.print(
            f"{errors['confident']} of {errors['images']} labels are probably wrong; the most suspicious:", markup=False
        )
        for error in errors["first"]:
            labels = f"labelled {error['label']}, probably {error['suggestion']}"
            console.print(f"  {error['image']}: {labels}", markup=False)
    console.print(f"lists: {result['folder']}", markup=False)


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.check_data", __doc__)
    add_data_arguments(parser)
    parser.add_argument("--study", metavar="NAME", help="check this study's images, and rank probable label errors")
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        help="folder for the lists (default: in the study's folder, or in --home)",
    )
    add_cache_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    if options.data is None and options.study is None:
        raise UserError("check-data: give the images with --data FOLDER, or a study with --study NAME")
    settings = enter_home(options)
    with DataProgress() as progress:
        if options.study is None:
            result = check_data(settings, data_spec(None, options), options.output, progress)
        else:
            result = check_study(settings, options.study, options.data, options.output, progress)
    if options.json:
        print_json(result)
    else:
        _show(result)


if __name__ == "__main__":
    sys.exit(main_guard(main))
