"""The command `sieve`: it runs every other command by its name.

    sieve                            the commands, with a line each
    sieve run --study quickstart     the same as `python -m search.run --study quickstart`
    sieve run --help                 the options of one command

Commands are imported when they are called: some need PyTorch or MLflow, which take seconds to import.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

from data.errors import UserError
from models.command_parser import CommandParser
from models.spelling import did_you_mean


class Command(NamedTuple):
    """One command: the module whose `main` runs it, and what it does."""

    module: str
    summary: str


COMMANDS = {
    "run": Command("search.run", "run a staged search; the same command continues a stopped one"),
    "try": Command("search.try.__main__", "let a running study try a configuration that you pick"),
    "status": Command("search.status", "show the progress of every study, its workers and the GPUs"),
    "check-data": Command("search.check_data.__main__", "report problems in a set of images, before a search"),
    "watch": Command("search.watch.__main__", "serve live reports of all studies in the browser"),
    "evaluate": Command("search.evaluate", "open the seal: measure the champion on the test images, once"),
    "report": Command("search.report.__main__", "write a study's report as one HTML file"),
    "pictures": Command("search.pictures.__main__", "draw the champion's mistakes, filters and feature maps"),
    "predict": Command("search.predict", "classify new images with the champion"),
    "export": Command("search.export", "write the champion as ONNX and as plain weights"),
    "resume": Command("search.resume", "resume the training of a trial from a kept checkpoint"),
    "export-runs": Command("search.export_runs.__main__", "write learning curves for TensorBoard or W&B, and as CSV"),
    "worker": Command("search.worker", "add a worker to a study, on this machine or another"),
    "init": Command("search.init", "create or upgrade the tables in shared databases"),
    "sync": Command("search.sync", "send MLflow what it missed during an outage"),
    "doctor": Command("search.doctor.__main__", "check everything that a search relies on; --mend makes safe repairs"),
    "dashboard": Command("search.dashboard", "show studies in the browser with optuna-dashboard and MLflow"),
    "profile": Command("search.profile.__main__", "measure where the time of one trial goes"),
    "complexity": Command("models.complexity", "count the multiply-accumulates and parameters of a network"),
    "detect": Command("search.detect.__main__", "find objects in images or a video with a pre-trained detector"),
}

_FILES = frozenset({"data", "weights", "output", "places", "source"})
_FOLDERS = frozenset({"home", "artifacts"})
"""Options whose values the shell completes with files, and with folders."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return its exit code. Without arguments, list the commands."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and not arguments[0].startswith("-"):
        return _run(arguments[0], arguments[1:])
    parser = build_parser()
    try:
        options = parser.parse_args(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.completion:
        print(_completion_script(options.completion))
    else:
        parser.print_help()
    return 0


def build_parser() -> CommandParser:
    """The parser of everything but the commands themselves, whose help lists the commands."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
    parser = CommandParser(
        prog="sieve",
        usage="sieve COMMAND [OPTIONS]",
        description="Staged hyperparameter search for image classifiers.",
        epilog=f"commands:\n{listed}\n\n`sieve COMMAND --help` lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sieve {version('sieve-search')}")
    parser.add_argument(
        "--completion", choices=("bash", "zsh", "tcsh"), help="print a script that completes commands and options"
    )
    return parser


def _completion_script(shell: str) -> str:
    """A script with which `shell` completes commands, their options, files, and the names of studies."""
    import shtab

    from studies.load import STUDIES

    parser = build_parser()
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        options = module_of(name).build_parser()
        for action in options._actions:
            if action.dest == "study":
                action.choices = list(STUDIES)
            elif action.dest in _FILES:
                action.complete = shtab.FILE
            elif action.dest in _FOLDERS:
                action.complete = shtab.DIRECTORY
        commands.add_parser(name, help=command.summary, parents=[options], add_help=False)
    script: str = shtab.complete(parser, shell)
    return script


def _run(name: str, arguments: Sequence[str]) -> int:
    if name not in COMMANDS:
        print(f"error: sieve has no command {name!r}.{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        return 2
    from search.cli import main_guard, program  # Here, so that listing the commands imports no database driver.

    if name == "complexity":  # It belongs to models/, which imports nothing of search/.
        code: int = module_of(name).main(arguments, prog=program("models.complexity"))
        return code
    return main_guard(lambda: module_of(name).main(arguments))


def module_of(name: str) -> Any:
    """The module of a command, which has `main` and `build_parser`."""
    return import_module(COMMANDS[name].module)
