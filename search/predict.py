"""Classify new images with a study's champion.

    sieve predict --study NAME photo.jpg more-photos/
    sieve predict --study NAME photos/ --csv answers.csv

A folder stands for all images in it and in its subfolders. An image that cannot be read is listed with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from data.arrays import UInt8Array
from data.decode import UnreadableImage, decode, pillow_warnings
from data.errors import UserError
from data.files import write_csv
from data.find_pictures import find_pictures
from data.outputs import check_output_file
from search.cli import CommandParser, command_parser, main_guard
from search.settings import Settings, from_arguments
from search.store.find import find_champion, find_study
from search.store.storage import open_storage
from search.terminal import open_console, print_json
from search.tracking.model_registry import LoadedChampion, load_champion

BATCH_IMAGES = 256
CSV_HEADER = ("path", "answer", "probability")
"""The first columns of the table; a file that begins with them was written by this command."""


def predict(settings: Settings, study: str, places: Sequence[Path], *, top: int = 3) -> dict[str, Any]:
    """The `top` most likely classes of every image, in the order given, as `--json` prints them.

    Raises UserError if there is no such study, champion or file, or if no image can be read.
    """
    paths = find_pictures(places)
    storage = open_storage(settings.storage_url, create=False)
    try:
        uri = find_champion(find_study(storage, study)).model_uri
    finally:
        storage.close()
    champion = load_champion(settings, uri)
    answers: list[dict[str, Any]] = []
    for start in range(0, len(paths), BATCH_IMAGES):
        answers += _answer(champion, paths[start : start + BATCH_IMAGES], top)
    if all("error" in answer for answer in answers):
        others = f"; none of the {len(answers)} images can be read" if len(answers) > 1 else ""
        raise UserError(f"{answers[0]['path']}: {answers[0]['error']}{others}")
    return {"study": study, "model_uri": champion.registered.uri, "predictions": answers}


def _answer(champion: LoadedChampion, paths: Sequence[Path], top: int) -> list[dict[str, Any]]:
    with pillow_warnings():
        decoded = [_decode(champion, path) for path in paths]
    images = [image for image in decoded if not isinstance(image, str)]
    probabilities = iter(np.asarray(champion.model.predict(np.stack(images)))) if images else iter(())
    return [
        {"path": str(path), "error": image}
        if isinstance(image, str)
        else {"path": str(path), "classes": _likeliest(champion, next(probabilities), top)}
        for path, image in zip(paths, decoded, strict=True)
    ]


def _decode(champion: LoadedChampion, path: Path) -> UInt8Array | str:
    """The image in the champion's size, or the reason why it cannot be read."""
    channels, height, _ = champion.input_shape
    try:
        return decode(
            path.read_bytes(),
            image_size=height,
            image_fit=champion.image_fit,
            channels=channels,
            rule=champion.pixel_rule,
        )
    except UnreadableImage as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def write_table(result: dict[str, Any], path: Path) -> None:
    """Write what `predict` returned as a table: a line for each image, and two columns for each likely class.

    Raises UserError if the table cannot be written.
    """
    answers = result["predictions"]
    shown = max(len(answer.get("classes", ())) for answer in answers)
    more = [f"{column}_{place}" for place in range(2, shown + 1) for column in ("answer", "probability")]
    lines = []
    for answer in answers:
        cells = [
            cell for entry in answer.get("classes", ()) for cell in (entry["class"], f"{entry['probability']:.4f}")
        ]
        lines.append((answer["path"], *cells, *[""] * (2 * shown - len(cells)), answer.get("error", "")))
    write_csv(path, (*CSV_HEADER, *more, "error"), lines)


def _likeliest(champion: LoadedChampion, probabilities: np.ndarray[Any, Any], top: int) -> list[dict[str, Any]]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"class": champion.classes[index], "probability": float(probabilities[index])} for index in order]


def _show(result: dict[str, Any]) -> None:
    table = Table(
        "image", "most likely classes", title=f"{result['study']}: {result['model_uri']}", title_justify="left"
    )
    for answer in result["predictions"]:
        likeliest = ", ".join(f"{entry['class']} {entry['probability']:.1%}" for entry in answer.get("classes", ()))
        table.add_row(Text(answer["path"]), Text(likeliest) if likeliest else Text(answer["error"], style="red"))
    open_console().print(table)


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.predict", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study whose champion classifies the images")
    parser.add_argument(
        "places", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER", help="images, or folders that hold images"
    )
    parser.add_argument("--top", metavar="N", type=int, default=3, help="show the N most likely classes (default: 3)")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write the answers to a CSV file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = build_parser().parse_args(argv)
    if arguments.top < 1:
        raise UserError(f"--top {arguments.top}: give a number of 1 or more")
    if arguments.csv:
        check_output_file(arguments.csv, ",".join(CSV_HEADER).encode(), option="--csv")
    result = predict(from_arguments(arguments), arguments.study, arguments.places, top=arguments.top)
    if arguments.csv:
        write_table(result, arguments.csv)
    if arguments.json:
        print_json(result)
    else:
        _show(result)


if __name__ == "__main__":
    sys.exit(main_guard(main))
