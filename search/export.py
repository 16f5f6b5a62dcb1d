"""Write a study's champion as plain files: an ONNX model, and its weights with their configuration.

    sieve export --study NAME --output FOLDER

`model.onnx` takes uint8 images (N, height, width, channels), normalises them itself and returns class probabilities.
`models.bundle.load_bundle` reads `weights.safetensors` and `classifier.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.outputs import output_folder
from search.cli import CommandParser, command_parser, main_guard
from search.names import study_folder
from search.settings import Settings, from_arguments
from search.store.find import find_champion, find_study
from search.store.storage import open_storage
from search.terminal import print_json
from search.tracking.model_registry import download_bundle

ONNX_FILE = "model.onnx"


def export(settings: Settings, study: str, output: Path | None = None) -> dict[str, Any]:
    """Write the champion's files to `output` (default: `export/` in the study's folder); return what `--json` prints.

    Raises UserError if there is no such study or champion, if the extra `export` is missing, or as
    `output_folder` does.
    """
    storage = open_storage(settings.storage_url, create=False)
    try:
        champion = find_champion(find_study(storage, study))
    finally:
        storage.close()
    _check_onnx()
    folder = output or study_folder(settings.home, study) / "export"
    with output_folder(folder) as part:
        download_bundle(settings, champion.model_uri, part)
        write_onnx(part, part / ONNX_FILE)
        written = sorted(path.name for path in part.iterdir())
    return {"study": study, "model_uri": champion.model_uri, "files": [str(folder / name) for name in written]}


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


def _check_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError("export needs the packages onnx and onnxscript: pip install 'sieve-search[export]'") from None


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.export", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study whose champion to export")
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path, help="folder for the files (default: export/ in the study's folder)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    result = export(from_arguments(options), options.study, options.output)
    if options.json:
        print_json(result)
    else:
        print("\n".join(result["files"]))


if __name__ == "__main__":
    sys.exit(main_guard(main))
