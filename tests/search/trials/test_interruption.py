"""Signals to a worker, sent where Python ignores exceptions."""

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from search.trials.interruption import Interruption, TimeIsUp, WorkerStopped
from search.trials.lease_keeper import OUT_OF_TIME_SIGNAL, STOP_SIGNAL

SIGNALS = (signal.SIGINT, signal.SIGALRM, STOP_SIGNAL, OUT_OF_TIME_SIGNAL)


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    """Of a worker whose supervisor is gone; the handlers of the test's process come back."""
    handlers = {kind: signal.getsignal(kind) for kind in SIGNALS}
    hook = sys.unraisablehook
    supervisor_gone = threading.Event()
    supervisor_gone.set()
    installed = Interruption(supervisor_gone)
    installed.install()
    yield installed
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.unraisablehook = hook
    for kind, handler in handlers.items():
        signal.signal(kind, handler)


class Collected:
    """Something that a weak reference can point to."""


def collect(callback: Callable[[], object]) -> None:
    """Run `callback` as that of a weak reference whose object is gone."""
    thing = Collected()
    reference = weakref.ref(thing, lambda _: callback())
    del thing
    assert reference() is None


@pytest.mark.parametrize(("signum", "error"), [(STOP_SIGNAL, WorkerStopped), (OUT_OF_TIME_SIGNAL, TimeIsUp)])
def test_a_signal_in_the_callback_of_a_weak_reference_is_raised_after_it(
    interruption: Interruption, capfd: pytest.CaptureFixture[str], signum: int, error: type[BaseException]
) -> None:
    with pytest.raises(error), interruption.interruptible():
        collect(lambda: os.kill(os.getpid(), signum))
        time.sleep(10)

    assert capfd.readouterr().err == ""


def test_a_signal_that_was_lost_does_not_end_what_may_not_be_interrupted(interruption: Interruption) -> None:
    with pytest.raises(WorkerStopped):
        with interruption.interruptible():
            collect(lambda: os.kill(os.getpid(), STOP_SIGNAL))
        time.sleep(0.2)
        with interruption.interruptible():
            raise AssertionError("it was not raised at the next chance")


def test_other_errors_in_such_a_callback_are_still_reported(
    interruption: Interruption, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    interruption.install()

    collect(lambda: 1 // 0)

    assert [lost.exc_type for lost in reported] == [ZeroDivisionError]
