"""Ask a study's champion about new pictures.

    python -m search.predict --study NAME IMAGE_OR_FOLDER... [--top 3] [--json]

A folder stands for all pictures below it. A picture that cannot be read is listed with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.arrays import UInt8Array
from data.decode import UnreadableImage, decode
from data.errors import UserError
from data.find_pictures import find_pictures
from search.cli import command_parser, main_guard
from search.settings import Settings, from_arguments
from search.store.find import find_champion, find_study
from search.store.storage import open_storage
from search.terminal import print_json
from search.tracking.model_registry import LoadedChampion, load_champion

BATCH_IMAGES = 256


def predict(settings: Settings, study: str, places: Sequence[Path], *, top: int = 3) -> dict[str, Any]:
    """The `top` likeliest classes of every picture, in the order given, as `--json` prints them.

    Raises UserError if there is no such study, champion or place, or no picture that can be read.
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
        raise UserError(f"{answers[0]['path']}: {answers[0]['error']}; none of {len(answers)} pictures can be read")
    return {"study": study, "model_uri": champion.registered.uri, "predictions": answers}


def _answer(champion: LoadedChampion, paths: Sequence[Path], top: int) -> list[dict[str, Any]]:
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
    """The picture as the champion sees it, or why it cannot be read."""
    channels, height, _ = champion.input_shape
    try:
        return decode(path.read_bytes(), image_size=height, image_fit=champion.image_fit, channels=channels)
    except UnreadableImage as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _likeliest(champion: LoadedChampion, probabilities: np.ndarray[Any, Any], top: int) -> list[dict[str, Any]]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"class": champion.classes[index], "probability": float(probabilities[index])} for index in order]


def _show(result: dict[str, Any]) -> None:
    table = Table("picture", "answer", title=f"{result['study']}: {result['model_uri']}", title_justify="left")
    for answer in result["predictions"]:
        likeliest = ", ".join(f"{entry['class']} {entry['probability']:.1%}" for entry in answer.get("classes", ()))
        table.add_row(Text(answer["path"]), Text(likeliest) if likeliest else Text(answer["error"], style="red"))
    Console().print(table)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = command_parser("search.predict", __doc__)
    parser.add_argument("--study", required=True, help="the study whose champion is asked")
    parser.add_argument("places", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--top", type=int, default=3, help="how many classes to name (default: 3)")
    arguments = parser.parse_args(argv)
    if arguments.top < 1:
        raise UserError(f"--top {arguments.top}: at least 1 class must be named")
    result = predict(from_arguments(arguments), arguments.study, arguments.places, top=arguments.top)
    if arguments.json:
        print_json(result)
    else:
        _show(result)


if __name__ == "__main__":
    sys.exit(main_guard(main))
