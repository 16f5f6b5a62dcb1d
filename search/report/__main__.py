"""Write a study's report: one HTML file that opens anywhere and loads nothing.

    python -m search.report --study NAME [--output FILE] [--json]

By default it goes to report.html in the study's folder below --home. It can be made at any time, also while the study
runs. The study's page in optuna-dashboard gets a short summary as its note.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from search.cli import command_parser, main_guard
from search.report.make import make_report
from search.settings import from_arguments
from search.terminal import print_json


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = command_parser("search.report", __doc__)
    parser.add_argument("--study", required=True, help="the study that is reported on")
    parser.add_argument("--output", metavar="FILE", type=Path, help="default: report.html in the study's folder")
    arguments = parser.parse_args(argv)
    path = make_report(from_arguments(arguments), arguments.study, arguments.output)
    if arguments.json:
        print_json({"study": arguments.study, "report": str(path), "bytes": path.stat().st_size})
    else:
        print(path)


if __name__ == "__main__":
    sys.exit(main_guard(main))
