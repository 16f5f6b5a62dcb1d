"""What every command shares: its parser, its exit codes, and errors of one line.

    def build_parser() -> CommandParser:
        parser = command_parser("search.status", __doc__)
        parser.add_argument("--study", help="show only this study (default: all)")
        return parser

    def main(argv: Sequence[str] | None = None) -> None:
        options = build_parser().parse_args(argv)
        ...

    if __name__ == "__main__":
        sys.exit(main_guard(main))

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted. A bug keeps its traceback.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from data.disk_trouble import disk_trouble
from data.errors import SieveError, UserError
from data.text import printable
from models.command_parser import CommandParser as CommandParser
from search import settings
from search.store.retries import is_outage, storage_away
from search.terminal import BAD_INPUT, DONE, FAILED, INTERRUPTED, say

MAX_PORT = 65535
LONGEST_START_S = 60.0
"""A command takes no longer than this to import its modules, also from a slow disk."""


def command_parser(module: str, description: str | None) -> CommandParser:
    """A parser for the command in `module`, with the options that every command takes."""
    parser = CommandParser(
        prog=program(module), description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = parser.add_argument_group("options of every command")
    settings.add_arguments(common)
    common.add_argument("--json", action="store_true", help="print one JSON object to stdout, and nothing else there")
    return parser


def port_number(text: str) -> int:
    """The number of a TCP port, for `add_argument(type=port_number)`; 0 stands for any free port."""
    if not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text} is not a port; give a number from 0 to {MAX_PORT}")
    return int(text)


def program(module: str) -> str:
    """The command as the user typed it: `sieve run`, `python -m search run` or `python -m search.run`."""
    called, name = Path(sys.argv[0]), module.rpartition(".")[2].replace("_", "-")
    if called.name == "sieve":
        return f"sieve {name}"
    if called == Path(__file__).with_name("__main__.py"):
        return f"python -m search {name}"
    return f"python -m {module}"


def command_age_s() -> float:
    """Seconds since the user started the running command; 0 in a program that calls its functions."""
    called = Path(sys.argv[0])
    if called.name != "sieve" and called.parent != Path(__file__).parent:
        return 0.0
    age_s = time.time() - psutil.Process().create_time()
    return min(max(0.0, age_s), LONGEST_START_S)  # The machine's clock may have been set meanwhile.


def main_guard(command: Callable[[], object]) -> int:
    """Run a command and return its exit code. An error that Sieve raises on purpose becomes one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A terminal of few characters shows the others in codes.
    try:
        command()
    except UserError as error:
        return _fail(error, BAD_INPUT)
    except SieveError as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # The program that read the output, e.g. `head`, has closed it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if trouble := disk_trouble(error):
            return _fail(UserError(f"cannot read or write: {trouble}"), BAD_INPUT)
        if not is_outage(error):
            raise  # A bug.
        return _fail(storage_away(error), FAILED)
    return DONE


def _fail(error: SieveError, code: int) -> int:
    say(f"error: {printable(str(error))}")
    return code
