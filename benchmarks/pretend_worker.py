"""A worker of the service whose training only waits; everything else is real.

    python -m benchmarks.pretend_worker LOG EPOCH_S --study NAME --home FOLDER

It writes to LOG, as JSON, when each trial's training began, how long it waited, and the processor time of its process.
Each trial is a little better than those before it at every epoch, so that the pruner runs but never prunes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import search.trials.run_trial
from models.config import TrainConfig
from models.training.metrics import EpochMetrics
from search import worker
from search.cli import main_guard

_begun: list[tuple[float, float]] = []
"""When each trial's training began (Unix time in seconds), and how many seconds it took."""


def pretended_fit(epoch_s: float) -> Any:
    """Return a stand-in for `models.training.fit.fit` whose epochs only wait `epoch_s` seconds."""

    def fit(model: object, train: object, val: object, config: TrainConfig, **others: object) -> Iterator[EpochMetrics]:
        began_at, trained_s = time.time(), 0.0
        for epoch in range(1, config.epochs + 1):
            started_s = time.perf_counter()
            time.sleep(epoch_s)
            trained_s += time.perf_counter() - started_s
            accuracy = epoch / (2 * config.epochs) + (began_at % 1e6) / 1e7
            yield EpochMetrics(
                epoch=epoch,
                train_loss=1 - accuracy,
                train_accuracy=accuracy,
                val_loss=1 - accuracy,
                val_accuracy=accuracy,
                val_macro_f1=accuracy,
                learning_rate=config.learning_rate,
                duration_s=epoch_s,
                images_per_s=0.0,
                memory_mib=0.0,
            )
        if config.epochs > 1:  # The confirmation is left out: a worker waits for the others before it.
            _begun.append((began_at, trained_s))

    return fit


def main() -> None:
    """Run the worker with the stand-in and write its log."""
    log, epoch_s, *arguments = sys.argv[1:]
    search.trials.run_trial.fit = pretended_fit(float(epoch_s))  # type: ignore[attr-defined]
    try:
        worker.main(arguments)
    finally:
        Path(log).write_text(json.dumps({"trials": _begun, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    sys.exit(main_guard(main))
