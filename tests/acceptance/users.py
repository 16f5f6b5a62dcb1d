"""Commands as other users of this machine, whom only root can become."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tests.acceptance.forks import Forked
from tests.acceptance.service import ROOT, Finished

GROUP = 12_000
"""A group without a name; its users have no names either."""
NOBODY = 12_004
"""The user who tries out what other users can run."""
MODULES = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
"""Sieve and the libraries that it is tested with, for a Python that has none of them."""


@cache
def python_of_others() -> str:
    """The Python that other users run: this one or, if it lies in a closed folder, the system's of the same version."""
    try:
        subprocess.run([sys.executable, "-c", ""], check=True, cwd="/", capture_output=True, user=NOBODY, group=GROUP)
    except (PermissionError, subprocess.CalledProcessError):
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return shutil.which(version, path=os.defpath) or sys.executable
    return sys.executable


@dataclass(frozen=True, kw_only=True)
class User:
    """A user with a folder of their own, in which the output of their commands lies."""

    uid: int
    gid: int
    umask: int
    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        os.chown(self.folder, self.uid, self.gid)

    def start(self, module: str, *arguments: str) -> Forked:
        """Start `python -m MODULE ARGUMENTS...` as this user."""
        number = len(list(self.folder.iterdir()))
        python = python_of_others()
        # A fork of this Python imports the rest of it as the other user.
        become = self.become if python == sys.executable else partial(self.execute, python, "-m", module, *arguments)
        return Forked(module, list(arguments), self.folder / f"{number}-{module}", become)

    def run(self, module: str, *arguments: str) -> Finished:
        """The same, to its end."""
        return self.start(module, *arguments).wait()

    def copy(self, source: Path, target: Path) -> None:
        """`cp -r`, as this user."""
        self._run(["cp", "-r", str(source), str(target)])

    def hindrance(self, place: Path) -> str:
        """Why this user cannot run Sieve on a place, e.g. because Python lies in a closed folder; empty if they can."""
        reachable = f"os.access({str(place)!r}, os.R_OK | os.X_OK)"
        code = f"import os, search.settings; assert {reachable}, 'the folder is closed'"
        try:
            self._run([python_of_others(), "-c", code])
        except PermissionError as error:
            return str(error)
        except subprocess.CalledProcessError as error:
            return error.stderr.strip().splitlines()[-1]
        return ""

    def become(self) -> None:
        """Make this process, which has to be root's, one of this user."""
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)
        os.umask(self.umask)
        os.environ["HOME"] = str(self.folder)
        for name in ("LOGNAME", "TMPDIR", "USER"):
            os.environ.pop(name, None)

    def execute(self, *command: str) -> None:
        """The same, and run a command in its place."""
        self.become()
        os.environ["PYTHONPATH"] = MODULES
        # Without the bytecode of an earlier start, the imports of a command take twice as long.
        os.environ["PYTHONPYCACHEPREFIX"] = str(self.folder / "bytecode")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.execv(command[0], command)

    def _run(self, command: Sequence[str]) -> None:
        subprocess.run(
            command, check=True, cwd="/", env={"PYTHONPATH": MODULES}, capture_output=True, text=True,
            user=self.uid, group=self.gid, extra_groups=[],
        )  # fmt: skip
