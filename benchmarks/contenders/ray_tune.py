"""C: Ray Tune with a part of the machine for each trial.

Sources: https://docs.ray.io/en/latest/tune/examples/tune-pytorch-cifar.html for the training function, its loaders and
reports, and https://docs.ray.io/en/latest/tune/tutorials/tune-resources.html for `tune.with_resources`: a CPU core for
each trial, or a quarter of a GPU, so that several run at once. The network, the data and the parameters are those of
contender A. Trials come from a `Searcher` instead of a grid, because a grid cannot stop starting trials once the time
is up.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch
import torch.nn.functional as F

os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import tune
from ray.tune.search import Searcher

from benchmarks.contenders.task import OPTIMIZERS, Task, read_task

TRIALS_PER_GPU = 4


class TableSearcher(Searcher):
    """Suggest the rows of the configuration table in order, until the time is up."""

    def __init__(self, rows: int, box_s: float) -> None:
        super().__init__(metric="val_accuracy", mode="max")
        self._rows = iter(range(rows))
        self._end = time.monotonic() + box_s

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """Return the next row as `{"slot": row}`, or `Searcher.FINISHED` after the last or once the time is up."""
        slot = next(self._rows, None)
        return Searcher.FINISHED if slot is None or time.monotonic() > self._end else {"slot": slot}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the table's order does not depend on results. `Searcher` requires the method."""


def train(params: dict[str, Any], task: Task) -> None:
    """Train the configuration in row `params["slot"]` and report its validation accuracy after each epoch."""
    started_at = time.time()
    slot: int = params["slot"]
    config = task.config(slot)
    device = torch.device(task.device)
    train_set, valid_set = task.datasets()
    # Not `train_set.classes`: Ray, which pickles this function, would take it for the module `torch.classes`.
    model = task.build_model(slot, len(train_set.class_to_idx)).to(device)
    optimizer = OPTIMIZERS[config.optimizer](
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    workers = max(1, task.cores // TRIALS_PER_GPU) if device.type == "cuda" else 1
    train_loader = torch.utils.data.DataLoader(
        train_set, batch_size=config.batch_size, shuffle=True, num_workers=workers
    )
    valid_loader = torch.utils.data.DataLoader(
        valid_set, batch_size=config.batch_size, shuffle=False, num_workers=workers
    )
    accuracies = []
    for _ in range(config.epochs):
        model.train()
        for data, target in train_loader:
            data, target = data.to(device), target.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(data), target)
            loss.backward()
            optimizer.step()

        model.eval()
        correct = 0
        with torch.no_grad():
            for data, target in valid_loader:
                data, target = data.to(device), target.to(device)
                correct += (model(data).argmax(dim=1) == target).sum().item()
        accuracies.append(correct / len(valid_set))
        tune.report({"val_accuracy": accuracies[-1]})
    task.finished(slot, started_at, accuracies)


def main() -> None:
    """Train the configurations of the task whose file the command names, until its time is up."""
    task = read_task()
    ray.init(num_cpus=task.cores, include_dashboard=False, log_to_driver=False)
    share = {"cpu": 1.0} if task.device == "cpu" else {"cpu": 1.0, "gpu": 1 / TRIALS_PER_GPU}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, task=task), share),
        tune_config=tune.TuneConfig(search_alg=TableSearcher(len(task.seeds), task.box_s), num_samples=len(task.seeds)),
        run_config=tune.RunConfig(storage_path=os.path.dirname(os.path.abspath(task.log)), verbose=0),
    )
    tuner.fit()
    ray.shutdown()


if __name__ == "__main__":
    main()
