"""Names for processes, and who of them is gone."""

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


def test_a_process_that_ended_and_waits_to_be_asked_is_dead(child: subprocess.Popen[bytes]) -> None:
    name = process_name(child.pid)
    assert child.stdin is not None
    child.stdin.close()
    while not is_dead(name):
        pass
    child.wait()


def test_a_corrected_clock_kills_nobody_and_a_reused_process_id_is_somebody_else() -> None:
    host, pid, start = process_name().rsplit(":", 2)
    assert not is_dead(f"{host}:{pid}:{int(start) + 1}")
    assert is_dead(f"{host}:{pid}:{int(start) - 60}")


def test_of_a_process_elsewhere_nothing_is_known() -> None:
    assert not is_dead(f"not-{socket.gethostname()}:1:1")
