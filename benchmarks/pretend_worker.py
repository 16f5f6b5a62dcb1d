"""A worker of the service whose training only waits; all else that it does is real.

    python -m benchmarks.pretend_worker LOG EPOCH_S --study NAME --home FOLDER

Notes in LOG, as JSON, when each trial's training began and how long it waited, and the processor time of its process.
Each trial is a little better than those before it at every epoch, so that the pruner is asked and never cuts.
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
"""Of each trial, when its training began (seconds since the epoch) and how long it took."""


def pretended_fit(epoch_s: float) -> Any:
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
        if config.epochs > 1:  # Not the confirmation, before which a worker waits for the others.
            _begun.append((began_at, trained_s))

    return fit


def main() -> None:
    log, epoch_s, *arguments = sys.argv[1:]
    search.trials.run_trial.fit = pretended_fit(float(epoch_s))  # type: ignore[attr-defined]
    try:
        worker.main(arguments)
    finally:
        Path(log).write_text(json.dumps({"trials": _begun, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    sys.exit(main_guard(main))
