"""A search under random kill -9 and a database that goes away, started again until it has done all it can."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import psutil

from tests.acceptance.service import POLL_S, Running, Service
from tests.chaos.postgres_server import PostgresServer

Blow = Literal["worker", "supervisor", "restart", "outage"]
OUTAGE_S = 15.0
"""Several attempts of a call that is repeated, and less than the minute after which it is given up."""
MAX_S = 600.0


@dataclass(kw_only=True)
class Storm:
    """Blows that fall on a running search, evenly spread over its trials and in random order."""

    service: Service
    command: tuple[str, ...]
    trials: int
    """Planned by the study."""
    blows: Counter[Blow]
    postgres: PostgresServer | None = None
    seed: int = 0
    starts: int = 0
    acknowledged: dict[int, float | None] = field(default_factory=dict)
    """The value of each trial that was seen to be finished before some blow."""

    def rage(self) -> str:
        """Until all blows have fallen and the search ends by itself; what it said then, on stderr."""
        chance = random.Random(self.seed)
        blows = list(self.blows.elements())
        chance.shuffle(blows)
        due = {blow: (blow + 1) * self.trials // (len(blows) + 1) for blow in range(len(blows))}
        deadline = time.monotonic() + MAX_S
        fallen = 0
        running = self._start()
        while time.monotonic() < deadline:
            if running.process.poll() is not None:
                said = running.wait().err
                assert "Traceback" not in said, said
                if fallen == len(blows) and self._finished() >= self.trials:
                    return said
                running = self._start()
            elif fallen < len(blows) and self._finished() >= due[fallen]:
                time.sleep(chance.uniform(0, 0.3))
                fallen += self._strike(blows[fallen], running, chance)
            time.sleep(POLL_S)
        raise AssertionError(f"{fallen} of {len(blows)} blows and {self._finished()} trials in {MAX_S:g} s")

    def _start(self) -> Running:
        self.starts += 1
        return self.service.start(*self.command)

    def _finished(self) -> int:
        done = {trial.trial_id: trial.value for trial in self.service.trials() if trial.state == "COMPLETE"}
        self.acknowledged |= done
        return len(done)

    def _strike(self, blow: Blow, running: Running, chance: random.Random) -> bool:
        """False if there was nothing to hit."""
        if blow == "supervisor":
            running.kill()
        elif blow == "worker":
            victims = self.service.processes("search.worker")
            if not victims:
                return False
            try:
                chance.choice(victims).kill()
            except psutil.NoSuchProcess:
                return False
        else:
            assert self.postgres is not None
            self.postgres.crash()
            time.sleep(OUTAGE_S if blow == "outage" else 0)
            self.postgres.start()
        return True

    def __str__(self) -> str:
        blows = ", ".join(f"{number} x {blow}" for blow, number in self.blows.items())
        return f"{self.trials} trials, {blows} (killed, or Postgres crashed), {self.starts} starts"
