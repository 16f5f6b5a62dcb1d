"""The thread that ends a worker whose training hangs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from search.timing import Timing
from search.trials.watchdog import Watchdog

HOLDS_THE_LOCK = """
import ctypes, os
from search.timing import Timing
from search.trials.watchdog import Watchdog

dog = Watchdog(0.2, lambda reason: os._exit(0), timing=Timing(watchdog_tick_s=0.05, watchdog_grace_s=0.05))
dog.start()
with dog.watching():
    ctypes.PyDLL(None).sleep(60)
"""


@pytest.fixture
def struck() -> list[str]:
    return []


@pytest.fixture
def start(struck: list[str]) -> Iterator[Callable[[float | None], Watchdog]]:
    started: list[Watchdog] = []

    def make(timeout_s: float | None) -> Watchdog:
        started.append(Watchdog(timeout_s, struck.append, timing=Timing(watchdog_tick_s=0.01)))
        started[-1].start()
        return started[-1]

    yield make
    for watchdog in started:
        watchdog.close()


def test_a_training_that_hangs_is_ended_and_the_reason_names_the_line(
    start: Callable[..., Watchdog], struck: list[str]
) -> None:
    watchdog = start(0.1)
    with watchdog.watching():
        watchdog.join(10)
    assert len(struck) == 1
    assert struck[0].startswith("no batch was finished in 0.1 s")
    assert "watchdog.join(10)" in struck[0]


def test_a_slow_training_that_makes_progress_is_left_alone(start: Callable[..., Watchdog], struck: list[str]) -> None:
    watchdog = start(0.5)
    with watchdog.watching():
        for _ in range(12):
            time.sleep(0.06)
            watchdog.beat()
    assert struck == []


def test_a_worker_that_trains_nothing_may_take_its_time(start: Callable[..., Watchdog], struck: list[str]) -> None:
    watchdog = start(0.05)
    with watchdog.watching():
        pass
    time.sleep(0.3)
    assert struck == []


def test_a_watchdog_that_is_off_never_strikes(start: Callable[..., Watchdog], struck: list[str]) -> None:
    with start(None).watching():
        time.sleep(0.2)
    assert struck == []


def test_code_that_holds_the_interpreter_s_lock_is_ended_too() -> None:
    ended = subprocess.run([sys.executable, "-c", HOLDS_THE_LOCK], capture_output=True, text=True, timeout=30)

    assert ended.returncode == 1
    assert "Timeout" in ended.stderr and "line 9 in <module>" in ended.stderr
