"""Write a study's report: one HTML file that needs no network, or documents to hand in.

    sieve report --study NAME
    sieve report --study NAME --output report.html
    sieve report --compare NAME NAME...
    sieve report --study NAME --format pdf
    sieve report --study NAME --text edited/report.md

You can write it at any time, even while the study runs. The study's page in optuna-dashboard gets a short summary as
its note. --compare writes one page with several studies side by side.

--format md writes a folder with a Markdown text and its pictures; pdf also writes the text as PDF; csv writes a row for
each trial; card writes a model card in Hugging Face's format. --text converts an edited text to PDF.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data.errors import UserError
from search.cli import CommandParser, command_parser, main_guard
from search.report.make import make_comparison, make_report
from search.settings import Settings, enter_home
from search.terminal import print_json


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.report", __doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--study", metavar="NAME", help="the study to report on")
    which.add_argument("--compare", metavar="NAME", nargs="+", help="two or more studies to show side by side")
    parser.add_argument(
        "--format", choices=("html", "md", "pdf", "csv", "card"), default="html", help="what to write (default: html)"
    )
    parser.add_argument("--text", metavar="FILE", type=Path, help="an edited report.md to convert to a PDF beside it")
    parser.add_argument(
        "--output",
        metavar="PATH",
        type=Path,
        help="HTML file, or folder for another format (default: below the study's folder; comparisons: below --home)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = build_parser().parse_args(argv)
    settings = enter_home(arguments)
    if arguments.compare:
        if arguments.format != "html" or arguments.text is not None:
            raise UserError("--compare writes an HTML page; leave out --format and --text")
        shown: dict[str, object] = {"studies": arguments.compare}
        path = make_comparison(settings, arguments.compare, arguments.output)
    else:
        shown = {"study": arguments.study}
        path = _write(settings, arguments)
    if arguments.json:
        print_json({**shown, "report": str(path), "bytes": path.stat().st_size})
    else:
        print(path)


def _write(settings: Settings, arguments: argparse.Namespace) -> Path:
    if arguments.text is None and arguments.format == "html":
        return make_report(settings, arguments.study, arguments.output)
    from search.report.handin.write import print_text, write_handin  # Here: it needs matplotlib.

    if arguments.text is not None:
        return print_text(arguments.text, arguments.output or arguments.text.with_suffix(".pdf"))
    return write_handin(settings, arguments.study, arguments.format, arguments.output)


if __name__ == "__main__":
    sys.exit(main_guard(main))
