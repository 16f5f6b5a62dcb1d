"""Find objects in pictures or a video with a pre-trained detector; boxes drawn, counts per class as CSV.

    python -m search.detect SOURCE [--threshold 0.5] [--detector NAME] [--weights FILE] [--output FOLDER] [--json]

SOURCE is a picture, a folder that stands for all pictures below it, or a video (extra `video`). The drawn pictures,
`counts.csv` (objects per class) and `detections.csv` (each box) go to detections/ below the home folder.
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
from search.cli import command_parser, main_guard
from search.detect.counts import COUNTS_FILE
from search.detect.find_objects import Found, detect, open_medium
from search.devices import parse_devices
from search.settings import from_arguments
from search.terminal import DataProgress, print_json

DEFAULT_DETECTOR = "fasterrcnn_mobilenet_v3_large_fpn"
DETECTIONS_FOLDER = "detections"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = command_parser("search.detect", __doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a picture, a folder of pictures, or a video")
    parser.add_argument("--detector", default=DEFAULT_DETECTOR, help=f"{', '.join(DETECTORS)} (default: the second)")
    parser.add_argument("--weights", default=DEFAULT, help="a file of tensors (default: torchvision's download)")
    parser.add_argument("--threshold", type=float, default=0.5, help="smallest score to count, 0 to 1 (default: 0.5)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of a video, every Nth frame (default: 1)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, or cuda:N")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the results go")
    options = parser.parse_args(argv)
    if options.detector not in DETECTORS:
        raise UserError(f"--detector {options.detector}: give one of {', '.join(DETECTORS)}")
    if not 0 <= options.threshold <= 1:
        raise UserError(f"--threshold {options.threshold}: give a score between 0 and 1")
    if options.every < 1:
        raise UserError(f"--every {options.every}: give 1 or more")
    source: Path = options.source
    medium = open_medium(source, options.every)
    output = options.output or from_arguments(options).home / DETECTIONS_FOLDER / source.resolve().name
    device = torch.device(parse_devices(options.device)[0])
    detector = load_detector(options.detector, options.weights, device)
    with DataProgress() as progress:
        found = detect(medium, detector, output, threshold=options.threshold, progress=progress)
    if options.json:
        print_json({"detector": options.detector, "threshold": options.threshold, **found.to_json()})
    else:
        _show(found, Console())


def _show(found: Found, console: Console) -> None:
    table = Table("class", "objects", "pictures", "most in one")
    for label, count in found.counts.items():
        table.add_row(label, *(f"{number:,}" for number in count.values()))
    console.print(table if found.counts else "no object above the threshold")
    for name, reason in found.unreadable.items():
        console.print(Text(f"{name}: {reason}", style="red"))
    counts = Path(found.output) / COUNTS_FILE
    console.print(f"{found.pictures:,} pictures looked at: {counts}", highlight=False, soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(main_guard(main))
