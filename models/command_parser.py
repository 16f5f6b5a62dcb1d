"""The argument parser of all commands: its errors are one line, as for any other bad input."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from data.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises UserError where argparse would print the usage and end the process."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments as argparse does, but refuse those that no path can contain, and `--name=--`, which argparse
        reads as an empty list.
        """
        for text in sys.argv[1:] if args is None else args:
            name, _, value = text.partition("=")
            if not _can_be_a_path(text):
                self.error(f"argument {name}: contains a character that is not allowed in names")
            if value == "--" and name.startswith("-"):
                self.error(f"argument {name}: expected a value")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise UserError with the command, what is wrong, and where the options are listed."""
        raise UserError(f"{self.prog}: {message}; --help lists the options")


def _can_be_a_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
