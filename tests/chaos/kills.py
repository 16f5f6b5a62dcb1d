"""kill -9 at a chosen step: a process ends itself the moment that it gets there, with nothing cleaned up."""

from __future__ import annotations

import importlib
import os
import signal
import time
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any, Literal

from search.timing import Timing
from search.tracking.client import use_quiet_mlflow

SHORT_LEASE_S = 3.0


@dataclass(frozen=True, kw_only=True)
class KillAt:
    """Kills this process right before, or right after, a function's call number `call`."""

    target: str
    """`module:name` or `module:Class.name`."""
    when: Literal["before", "after"]
    call: int = 1

    def __call__(self) -> None:
        holder, name = _find(self.target)
        original = getattr(holder, name)
        calls = 0

        def deadly(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if self.when == "before" and calls == self.call:
                die()
            returned = original(*args, **kwargs)
            if self.when == "after" and calls == self.call:
                die()
            return returned

        setattr(holder, name, deadly)

    def __str__(self) -> str:
        return f"{self.when} {self.target.rpartition('.')[2].rpartition(':')[2]}"


@dataclass(frozen=True, kw_only=True)
class HoldAt:
    """Holds processes before their first call of a function until `open`, so that all make it at once."""

    target: str
    gate: Path

    def __call__(self) -> None:
        holder, name = _find(self.target)
        original = getattr(holder, name)

        def held(*args: Any, **kwargs: Any) -> Any:
            self.gate.with_suffix(f".{os.getpid()}").touch()
            while not self.gate.exists():
                time.sleep(0.005)
            return original(*args, **kwargs)

        setattr(holder, name, held)

    def waiting(self) -> int:
        """How many processes have come so far."""
        return len(list(self.gate.parent.glob(f"{self.gate.name}.*")))

    def open(self) -> None:
        """Let them go on."""
        self.gate.touch()


def _find(target: str) -> tuple[Any, str]:
    """Whatever holds a function, and its name there."""
    use_quiet_mlflow()  # Should the import below be MLflow's first.
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    return reduce(getattr, parents, importlib.import_module(module)), name


def die() -> None:
    """kill -9 of this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def fall_asleep() -> None:
    """Stop in the middle of the second epoch, until SIGCONT; its lease is short."""
    module: Any = importlib.import_module("search.trials.worker")
    short = Timing(lease_s=SHORT_LEASE_S, renew_s=SHORT_LEASE_S / 6, lease_tick_s=0.1)
    module.Worker = partial(module.Worker, timing=short)
    fit = importlib.import_module("models.training.fit")
    evaluate, calls = fit.evaluate, iter(range(1, 1_000_000))

    def sleepily(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGSTOP)
        return evaluate(*args, **kwargs)

    fit.evaluate = sleepily  # type: ignore[attr-defined]


def die_while_saving() -> None:
    """The first checkpoint is written, but not yet in its place, when the process dies."""
    checkpoint = importlib.import_module("models.training.checkpoint")
    save = checkpoint.save_checkpoint

    def deadly(*args: Any) -> None:
        os.fsync = lambda descriptor: die()  # type: ignore[assignment]
        save(*args)

    checkpoint.save_checkpoint = deadly  # type: ignore[attr-defined]
