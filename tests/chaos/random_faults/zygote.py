"""Commands as forks of a process that has imported what they need: real processes with real signals, started at once.

A process with threads must not fork, and a supervisor that restarts a worker has threads. So each supervisor makes a
zygote when it starts: a process with one thread that does nothing but fork. The kernel then gives the new process to
the one that asked for it (`PR_SET_CHILD_SUBREAPER`), so a worker is its supervisor's child, as it always is.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import inspect
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 1, 15, 36, 37
NAME = "zygote"
SUPERVISOR = "search.run"
FIRST_OTHER_FILE, MOST_FILES = 3, 1 << 16
_MOST_BYTES = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a new process runs, and where."""

    module: str
    arguments: Sequence[str]
    folder: str
    environment: Mapping[str, str]


class Zygote:
    """A fork of this process that forks others; it ends together with this process."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            _serve(theirs)
        theirs.close()

    def start(self, command: Command, streams: Sequence[int]) -> int:
        """Start a command with these files as its standard streams; returns its process id, which is a child's."""
        before = ctypes.c_int()
        _libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(self._socket, [pickle.dumps(command)], list(streams))
            return int(self._socket.recv(_MOST_BYTES))
        finally:
            _libc.prctl(PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


class Forked(subprocess.Popen[bytes]):
    """`Popen` of `python -m MODULE ARGUMENTS...`, by this process's zygote instead of a new interpreter."""

    zygote: Zygote

    def _execute_child(self, *arguments: Any) -> None:
        """What `Popen` calls with the ends of its pipes; see the standard library."""
        given = inspect.signature(subprocess.Popen._execute_child).bind(self, *arguments).arguments  # type: ignore[attr-defined]
        after_m = given["args"].index("-m") + 1
        command = Command(
            module=given["args"][after_m],
            arguments=given["args"][after_m + 1 :],
            folder=str(given["cwd"] or os.getcwd()),
            environment=dict(given["env"] or os.environ),
        )
        pipes = [given[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        try:
            self.pid = self.zygote.start(command, [given[name] for name in ("p2cread", "c2pwrite", "errwrite")])
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def own_orphans() -> None:
    """Make this process the parent of all orphans among its descendants, so that it sees and counts them."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _serve(requests: socket.socket) -> None:
    """The zygote's whole life."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _libc.prctl(PR_SET_NAME, NAME.encode(), 0, 0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()  # Ctrl-C is for its commands, not for it.
    gc.collect()
    gc.freeze()
    while True:
        try:
            data, streams, _, _ = socket.recv_fds(requests, _MOST_BYTES, 3)
        except ConnectionResetError:  # Its process was killed before it had read the last answer.
            os._exit(0)
        if not data:  # Its process has ended.
            os._exit(0)
        requests.send(str(_fork_twice(pickle.loads(data), streams)).encode())
        for stream in streams:
            os.close(stream)


def _fork_twice(command: Command, streams: Sequence[int]) -> int:
    """Start a command whose parent has ended when this returns; returns its process id."""
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        started = os.fork()
        if started == 0:
            _run(command, streams)
        os.write(write, str(started).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(between, 0)
    started = int(os.read(read, 20))
    os.close(read)
    return started


def _run(command: Command, streams: Sequence[int]) -> None:
    """Be a command, from a state like that of a new interpreter, and end as it does."""
    _libc.prctl(PR_SET_NAME, command.module.encode(), 0, 0, 0)
    os.setsid()
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
    os.closerange(FIRST_OTHER_FILE, MOST_FILES)
    # Without `closefd`, a command's zygote would close its files when it replaces these.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _libc.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
    os.chdir(command.folder)
    os.environ.clear()
    os.environ.update(command.environment)
    code = 1
    try:
        _prepare(command.module)
        sys.argv = [command.module, *command.arguments]
        sys.modules.pop(command.module, None)  # Imported already, and now run as the program.
        runpy.run_module(command.module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
        os._exit(code)


def _prepare(module: str) -> None:
    """Let the clock jump, and a supervisor fork its workers."""
    from tests.chaos.random_faults.clock import use_wrong_clock

    use_wrong_clock()
    if module == SUPERVISOR:
        from search.supervisor import launch

        Forked.zygote = Zygote()
        vars(launch)["subprocess"] = SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE)
