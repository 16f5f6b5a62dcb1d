"""Classify new images with a study's champion.

    sieve predict --study NAME photo.jpg more-photos/
    sieve predict --study NAME photos/ --csv answers.csv --precision 0.95

A folder stands for all images in it and in its subfolders. An image that cannot be read is listed with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
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
from search.settings import Settings, enter_home
from search.store.find import find_champion, find_study
from search.store.storage import open_storage
from search.terminal import open_console, print_json
from search.tracking.model_registry import LoadedChampion, load_champion

BATCH_IMAGES = 256
UNSURE = "unsure"
"""The answer to an image whose most probable class is not probable enough."""
CSV_HEADER = ("path", "answer", "probability", "most_likely")
"""The first columns of the table; a file that begins with them was written by this command."""


def predict(
    settings: Settings,
    study: str,
    places: Sequence[Path],
    *,
    top: int = 3,
    min_confidence: float = 0.0,
    precision: float | None = None,
) -> dict[str, Any]:
    """The answer and the `top` most likely classes of every image, in the order given, as `--json` prints them.

    The answer is `unsure` if its probability is below `min_confidence` or, with `precision`, below the threshold that
    the champion has for it. Raises UserError if there is no such study, champion, file or threshold, or if no image can
    be read.
    """
    paths = find_pictures(places)
    storage = open_storage(settings.storage_url, create=False)
    try:
        uri = find_champion(find_study(storage, study)).model_uri
    finally:
        storage.close()
    champion = load_champion(settings, uri)
    if precision is not None:
        min_confidence = max(min_confidence, _threshold(champion, precision))
    answers: list[dict[str, Any]] = []
    for start in range(0, len(paths), BATCH_IMAGES):
        answers += _answer(champion, paths[start : start + BATCH_IMAGES], top, min_confidence)
    if all("error" in answer for answer in answers):
        others = f"; none of the {len(answers)} images can be read" if len(answers) > 1 else ""
        raise UserError(f"{answers[0]['path']}: {answers[0]['error']}{others}")
    return {
        "study": study,
        "model_uri": champion.registered.uri,
        "min_confidence": min_confidence,
        "predictions": answers,
    }


def _threshold(champion: LoadedChampion, precision: float) -> float:
    """The least confidence that the champion has for a precision."""
    known = {threshold.precision: threshold.confidence for threshold in champion.calibration.thresholds}
    if precision not in known:
        listed = ", ".join(f"{value:g}" for value in known) or "none"
        raise UserError(
            f"--precision {precision:g}: {champion.registered.uri} has no confidence threshold for this precision; "
            f"it has thresholds for {listed}; give one of these, or --min-confidence"
        )
    return known[precision]


def _answer(champion: LoadedChampion, paths: Sequence[Path], top: int, min_confidence: float) -> list[dict[str, Any]]:
    with pillow_warnings():
        decoded = [_decode(champion, path) for path in paths]
    images = [image for image in decoded if not isinstance(image, str)]
    probabilities = iter(np.asarray(champion.model.predict(np.stack(images)))) if images else iter(())
    return [
        {"path": str(path), "error": image}
        if isinstance(image, str)
        else {"path": str(path), **_judged(_likeliest(champion, next(probabilities), top), min_confidence)}
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


def _judged(likeliest: list[dict[str, Any]], min_confidence: float) -> dict[str, Any]:
    """The answer and the classes that it was chosen from."""
    best = likeliest[0]
    return {"answer": best["class"] if best["probability"] >= min_confidence else UNSURE, "classes": likeliest}


def write_table(result: dict[str, Any], path: Path) -> None:
    """Write what `predict` returned as a table: a line for each image.

    After the answer and its probability come the most likely class, which the answer `unsure` does not name, and the
    next classes with their probabilities. Raises UserError if the table cannot be written.
    """
    answers = result["predictions"]
    shown = max(len(answer.get("classes", ())) for answer in answers)
    more = [f"{column}_{place}" for place in range(2, shown + 1) for column in ("class", "probability")]
    lines = []
    for answer in answers:
        likely = [(entry["class"], f"{entry['probability']:.4f}") for entry in answer.get("classes", ())]
        cells = [answer["answer"], likely[0][1], likely[0][0], *chain(*likely[1:])] if likely else []
        lines.append((answer["path"], *cells, *[""] * (2 * shown + 1 - len(cells)), answer.get("error", "")))
    write_csv(path, (*CSV_HEADER, *more, "error"), lines)


def _likeliest(champion: LoadedChampion, probabilities: np.ndarray[Any, Any], top: int) -> list[dict[str, Any]]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"class": champion.classes[index], "probability": float(probabilities[index])} for index in order]


def _show(result: dict[str, Any]) -> None:
    title = f"{result['study']}: {result['model_uri']}"
    table = Table("image", "answer", "most likely classes", title=title, title_justify="left")
    for answer in result["predictions"]:
        if "error" in answer:
            table.add_row(Text(answer["path"]), "", Text(answer["error"], style="red"))
            continue
        likeliest = ", ".join(f"{entry['class']} {entry['probability']:.1%}" for entry in answer["classes"])
        style = "dim" if answer["answer"] == UNSURE else ""
        table.add_row(Text(answer["path"]), Text(answer["answer"], style=style), Text(likeliest))
    open_console().print(table)


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.predict", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study whose champion classifies the images")
    parser.add_argument(
        "places", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER", help="images, or folders that hold images"
    )
    parser.add_argument("--top", metavar="N", type=int, default=3, help="show the N most likely classes (default: 3)")
    parser.add_argument(
        "--min-confidence", metavar="P", type=float, default=0.0,
        help="answer `unsure` if the most likely class has a lower probability, e.g. 0.8",
    )  # fmt: skip
    parser.add_argument(
        "--precision", metavar="P", type=float,
        help="answer `unsure` below the confidence chosen on validation images for this precision, e.g. 0.95",
    )  # fmt: skip
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write the answers to a CSV file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = build_parser().parse_args(argv)
    if arguments.top < 1:
        raise UserError(f"--top {arguments.top}: give a number of 1 or more")
    if arguments.csv:
        check_output_file(arguments.csv, ",".join(CSV_HEADER).encode(), option="--csv")
    if not 0 <= arguments.min_confidence <= 1:
        raise UserError(f"--min-confidence {arguments.min_confidence:g}: give a probability from 0 to 1")
    result = predict(
        enter_home(arguments), arguments.study, arguments.places,
        top=arguments.top, min_confidence=arguments.min_confidence, precision=arguments.precision,
    )  # fmt: skip
    if arguments.csv:
        write_table(result, arguments.csv)
    if arguments.json:
        print_json(result)
    else:
        _show(result)


if __name__ == "__main__":
    sys.exit(main_guard(main))
