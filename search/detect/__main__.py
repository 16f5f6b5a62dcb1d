"""Find objects in images or a video with a pre-trained detector; draw their boxes and count them.

    sieve detect photos/
    sieve detect street.mp4 --every 5 --threshold 0.7

SOURCE is an image, a folder of images, or a video (needs `pip install 'sieve-search[video]'`). The images with boxes,
`counts.csv` (objects per class) and `detections.csv` (every box) go to detections/ in the home folder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.errors import UserError
from models.detector import DETECTORS, load_detector
from models.weights import DEFAULT
from search.cli import CommandParser, command_parser, main_guard
from search.detect.counts import COUNTS_FILE
from search.detect.find_objects import Found, detect, open_medium
from search.devices import parse_devices
from search.settings import enter_home
from search.terminal import DataProgress, open_console, print_json

DEFAULT_DETECTOR = "fasterrcnn_mobilenet_v3_large_fpn"
DETECTIONS_FOLDER = "detections"


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.detect", __doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="an image, a folder of images, or a video")
    parser.add_argument(
        "--detector", metavar="NAME", default=DEFAULT_DETECTOR,
        help=f"one of {', '.join(DETECTORS)} (default: {DEFAULT_DETECTOR})",
    )  # fmt: skip
    parser.add_argument(
        "--weights",
        metavar="FILE",
        default=DEFAULT,
        help="file with the detector's weights, .pt or .safetensors (default: torchvision's download)",
    )
    parser.add_argument(
        "--threshold", metavar="X", type=float, default=0.5,
        help="count only objects with at least this score, 0 to 1 (default: 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--every", metavar="N", type=int, default=1, help="search only every Nth frame of a video (default: 1)"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, or a GPU, e.g. cuda:0")
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path, help="folder for the results (default: detections/ in the home folder)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    if options.detector not in DETECTORS:
        raise UserError(f"--detector {options.detector}: give one of {', '.join(DETECTORS)}")
    if not 0 <= options.threshold <= 1:
        raise UserError(f"--threshold {options.threshold}: give a score between 0 and 1")
    if options.every < 1:
        raise UserError(f"--every {options.every}: give a number of 1 or more")
    source: Path = options.source
    medium = open_medium(source, options.every)
    output = options.output or enter_home(options).home / DETECTIONS_FOLDER / source.resolve().name
    device = torch.device(parse_devices(options.device, "--device")[0])
    detector = load_detector(options.detector, options.weights, device)
    with DataProgress() as progress:
        found = detect(medium, detector, output, threshold=options.threshold, progress=progress)
    if options.json:
        print_json({"detector": options.detector, "threshold": options.threshold, **found.to_json()})
    else:
        _show(found, open_console())


def _show(found: Found, console: Console) -> None:
    table = Table("class", "objects", "images", "most in one image")
    for label, count in found.counts.items():
        table.add_row(label, *(f"{number:,}" for number in count.values()))
    console.print(table if found.counts else "no object reached the threshold")
    for name, reason in found.unreadable.items():
        console.print(Text(f"{name}: {reason}", style="red"))
    counts = Path(found.output) / COUNTS_FILE
    searched = f"{found.pictures:,} image{'' if found.pictures == 1 else 's'} searched"
    console.print(f"{searched}; counts in {counts}", highlight=False, soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(main_guard(main))
