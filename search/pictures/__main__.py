"""Draw pictures of a study's champion: its predictions, its mistakes, its filters and feature maps.

    sieve pictures --study NAME

The PNG files go to pictures/ in the study's folder, and to the champion's model in MLflow. They show validation images,
and test images once `sieve evaluate` has opened the seal.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from search.cli import CommandParser, command_parser, main_guard
from search.pictures.draw_all import draw_pictures
from search.settings import enter_home
from search.stage.moved_pictures import DATA_HELP
from search.terminal import DataProgress, print_json


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.pictures", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study whose champion to draw")
    parser.add_argument("--data", metavar="FOLDER", help=DATA_HELP)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = build_parser().parse_args(argv)
    with DataProgress() as progress:
        drawn = draw_pictures(enter_home(arguments), arguments.study, data=arguments.data, progress=progress)
    paths = [str(path) for path in drawn]
    if arguments.json:
        print_json({"study": arguments.study, "pictures": paths})
    else:
        print("\n".join(paths))


if __name__ == "__main__":
    sys.exit(main_guard(main))
