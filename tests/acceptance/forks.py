"""Sieve's commands as forks of a process that has imported all that they import: real processes, started in no time."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from pathlib import Path

from tests.acceptance.service import Finished

TIMEOUT_S = 60.0
COMMANDS = ("search.run", "search.worker", "search.status", "search.evaluate", "search.predict")
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([*COMMANDS, __name__])


def run_forked(module: str, arguments: list[str], folder: Path) -> Finished:
    """Run `python -m MODULE ARGUMENTS...` in a folder, which it makes and which gets `stdout` and `stderr`."""
    folder.mkdir(parents=True)
    process = _FORKS.Process(target=_be_command, args=(module, arguments, folder))
    process.start()
    process.join(TIMEOUT_S)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode is not None
    out, err = ((folder / name).read_text() for name in ("stdout", "stderr"))
    return Finished(code=process.exitcode, out=out, err=err)


def _be_command(module: str, arguments: list[str], folder: Path) -> None:
    os.chdir(folder)
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)  # Imported by the server, and now run as the program.
    runpy.run_module(module, run_name="__main__", alter_sys=True)
