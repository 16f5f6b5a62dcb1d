"""Names for processes, and which of them have ended."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from search.store.processes import is_dead, process_name


@pytest.fixture
def child() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)


def test_a_process_is_alive_until_it_ends(child: subprocess.Popen[bytes]) -> None:
    name = process_name(child.pid)
    assert not is_dead(name)
    child.communicate(b"\n")
    assert is_dead(name)


def test_a_zombie_process_is_dead(child: subprocess.Popen[bytes]) -> None:
    name = process_name(child.pid)
    assert child.stdin is not None
    child.stdin.close()
    while not is_dead(name):
        pass
    child.wait()


def test_a_corrected_clock_leaves_a_process_alive_and_a_reused_process_id_is_another_process() -> None:
    host, pid, start = process_name().rsplit(":", 2)
    assert not is_dead(f"{host}:{pid}:{int(start) + 1}")
    assert is_dead(f"{host}:{pid}:{int(start) - 60}")


def test_a_process_on_another_machine_is_never_taken_for_dead() -> None:
    assert not is_dead(f"not-{socket.gethostname()}:1:1")
