"""Commands as other users of this machine, whom only root can become."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.forks import Forked
from tests.acceptance.service import ROOT, Finished

GROUP = 12_000
"""A group without a name; its users have no names either."""


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
        return Forked(module, list(arguments), self.folder / f"{number}-{module}", self.become)

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
            self._run([sys.executable, "-c", code])
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

    def _run(self, command: Sequence[str]) -> None:
        subprocess.run(
            command, check=True, cwd="/", env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            user=self.uid, group=self.gid, extra_groups=[],
        )  # fmt: skip
