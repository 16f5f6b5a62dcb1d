"""Draw the pictures of a study's champion: what it says of images, where it errs, what its layers look at.

    python -m search.pictures --study NAME [--json]

They go to pictures/ in the study's folder, as PNG files, and beside the champion's model in MLflow. Validation images
are shown until `search.evaluate` has looked at the test images, and those afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from search.cli import command_parser, main_guard
from search.pictures.draw_all import draw_pictures
from search.settings import from_arguments
from search.terminal import DataProgress, print_json


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = command_parser("search.pictures", __doc__)
    parser.add_argument("--study", required=True, help="the study whose champion is shown")
    arguments = parser.parse_args(argv)
    with DataProgress() as progress:
        drawn = draw_pictures(from_arguments(arguments), arguments.study, progress=progress)
    paths = [str(path) for path in drawn]
    if arguments.json:
        print_json({"study": arguments.study, "pictures": paths})
    else:
        print("\n".join(paths))


if __name__ == "__main__":
    sys.exit(main_guard(main))
