"""Write a study's champion as plain files: an ONNX model, and its weights with their configuration.

    sieve export --study NAME --output FOLDER
    sieve export --study NAME --int8

`model.onnx` takes uint8 images (N, height, width, channels), normalises them itself and returns class probabilities.
`models.bundle.load_bundle` reads `weights.safetensors` and `classifier.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.table import Table

from data.errors import UserError
from data.outputs import output_folder
from search.cli import CommandParser, command_parser, main_guard
from search.names import study_folder
from search.settings import Settings, enter_home
from search.store.find import find_champion, find_study
from search.store.storage import open_storage
from search.terminal import open_console, print_json
from search.text import plural
from search.tracking.model_registry import download_bundle

ONNX_FILE = "model.onnx"


def export(settings: Settings, study: str, output: Path | None = None, *, int8: bool = False) -> dict[str, Any]:
    """Write the champion's files to `output` (default: `export/` in the study's folder); return what `--json` prints.

    With `int8` also `model-int8.onnx`, and the speed and validation accuracy of every file and of the finalists.

    Raises UserError if there is no such study or champion, if the extra `export` is missing, or as
    `output_folder` does.
    """
    storage = open_storage(settings.storage_url, create=False)
    try:
        record = find_study(storage, study)
        champion = find_champion(record)
        _check_onnx(int8=int8)
        folder = output or study_folder(settings.home, study) / "export"
        figures: list[dict[str, Any]] = []
        with output_folder(folder) as part:
            download_bundle(settings, champion.model_uri, part)
            write_onnx(part, part / ONNX_FILE)
            if int8:
                from search.verdict.exported_files import add_int8  # Here: it needs torch, which takes seconds.

                measured = add_int8(settings, storage, record, champion, part, ONNX_FILE)
                figures = [figure.to_json() for figure in measured]
            written = sorted(path.name for path in part.iterdir())
    finally:
        storage.close()
    files = [str(folder / name) for name in written]
    return {"study": study, "model_uri": champion.model_uri, "files": files, "figures": figures}


def write_onnx(bundle: Path, path: Path) -> None:
    """The classifier in a bundle as one ONNX file, its preprocessing inside, for any number of images."""
    import torch

    from models.bundle import load_bundle
    from models.serving_graph import ServingGraph

    classifier = load_bundle(bundle)
    channels, height, width = classifier.input_shape
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    batch = torch.export.Dim("images", min=1)
    torch.onnx.export(
        ServingGraph(classifier).eval(), (example,), str(path), input_names=["images"], output_names=["probabilities"],
        dynamic_shapes=({0: batch},), dynamo=True, external_data=False, verbose=False,
    )  # fmt: skip


def _check_onnx(*, int8: bool) -> None:
    needed = ("onnx", "onnxscript", "onnxruntime") if int8 else ("onnx", "onnxscript")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UserError(f"export needs the packages {' and '.join(missing)}: pip install 'sieve-search[export]'")


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.export", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study whose champion to export")
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path, help="folder for the files (default: export/ in the study's folder)"
    )
    parser.add_argument(
        "--int8", action="store_true",
        help="also write model-int8.onnx, quantised with validation images, and time every file at batch 1 and 64",
    )  # fmt: skip
    return parser


def _print_figures(figures: list[dict[str, Any]]) -> None:
    table = Table("file", "size", "validation accuracy", "ms for 1 image", "ms for 64", title="on this machine")
    for figure in figures:
        accuracy, (one, many) = figure["val_accuracy"], figure["latency_ms"].values()
        shown = "-" if accuracy is None else f"{accuracy:.4f} ({plural(figure['val_images'], 'image')})"
        table.add_row(figure["file"], f"{figure['size_bytes'] / 2**20:.1f} MiB", shown, f"{one:.1f}", f"{many:.1f}")
    open_console().print(table)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    result = export(enter_home(options), options.study, options.output, int8=options.int8)
    if options.json:
        print_json(result)
    else:
        print("\n".join(result["files"]))
        if result["figures"]:
            _print_figures(result["figures"])


if __name__ == "__main__":
    sys.exit(main_guard(main))
