"""Sieve's commands as forks of a process that has imported all that they import: real processes, started in no time."""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.acceptance.service import COMMAND_TIMEOUT_S, Finished, Service
from tests.forkserver import FORKS

Fault = Callable[[], None]
"""Called in the command's process before it starts."""


class Forked:
    """A command that runs in a folder, which it makes and which gets `stdout` and `stderr`."""

    def __init__(self, module: str, arguments: list[str], folder: Path, fault: Fault | None = None) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.process = FORKS.Process(target=_be_command, args=(module, arguments, folder, fault))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.join()

    def wait(self) -> Finished:
        self.process.join(COMMAND_TIMEOUT_S)
        if self.process.is_alive():
            self.kill()
        assert self.process.exitcode is not None
        out, err = ((self._folder / name).read_text() for name in ("stdout", "stderr"))
        return Finished(code=self.process.exitcode, out=out, err=err)


def run_forked(module: str, arguments: list[str], folder: Path, fault: Fault | None = None) -> Finished:
    """Run `python -m MODULE ARGUMENTS...` to its end."""
    return Forked(module, arguments, folder, fault).wait()


def start_on(service: Service, module: str, *arguments: str) -> Forked:
    """`service.start` without the seconds of its imports, where the start of the command is not what a test is about.

    The command is none of `service.processes()`; workers that it starts are.
    """
    folder = Path(tempfile.mkdtemp(dir=service.home.parent)) / "here"
    return Forked(module, list(arguments), folder, partial(_set_variables, service.variables))


def run_on(service: Service, module: str, *arguments: str) -> Finished:
    """The same, to its end."""
    return start_on(service, module, *arguments).wait()


def _set_variables(variables: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith(("SIEVE_", "MLFLOW_"))]:
        del os.environ[name]
    os.environ.update(variables)


def _be_command(module: str, arguments: list[str], folder: Path, fault: Fault | None) -> None:
    os.chdir(folder)
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
    if fault is not None:
        fault()
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)  # Imported by the server, and now run as the program.
    runpy.run_module(module, run_name="__main__", alter_sys=True)
