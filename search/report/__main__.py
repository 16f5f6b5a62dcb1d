"""Write a study's report: one HTML file that needs no network.

    sieve report --study NAME
    sieve report --study NAME --output report.html

You can write it at any time, also while the study runs. The study's page in optuna-dashboard gets a short summary as
its note.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from search.cli import CommandParser, command_parser, main_guard
from search.report.make import make_report
from search.settings import from_arguments
from search.terminal import print_json


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.report", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study to report on")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="HTML file to write (default: report.html in the study's folder)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = build_parser().parse_args(argv)
    path = make_report(from_arguments(arguments), arguments.study, arguments.output)
    if arguments.json:
        print_json({"study": arguments.study, "report": str(path), "bytes": path.stat().st_size})
    else:
        print(path)


if __name__ == "__main__":
    sys.exit(main_guard(main))
