"""Shell completion: a script for bash, zsh or tcsh that completes the commands of `sieve`, their options and files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import shtab

from studies.registry import STUDIES

_FILES = {"data", "weights", "output", "places", "source"}
_FOLDERS = {"home", "artifacts"}


def completion_script(
    shell: str, parser: argparse.ArgumentParser, commands: Mapping[str, tuple[str, argparse.ArgumentParser]]
) -> str:
    """The script for `shell` (bash, zsh or tcsh). `commands` maps a command's name to its summary and its parser."""
    subparsers = parser.add_subparsers()
    for name, (summary, options) in commands.items():
        for action in options._actions:
            _complete(action)
        subparsers.add_parser(name, help=summary, parents=[options], add_help=False)
    script: str = shtab.complete(parser, shell)
    return script


def _complete(action: argparse.Action) -> None:
    if action.dest == "study":
        action.choices = list(STUDIES)
    elif action.dest in _FILES:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif action.dest in _FOLDERS:
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
