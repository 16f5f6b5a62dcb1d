"""Measure how many trials a warm start saves: search digits with and without the best configurations of other images.

    python -m benchmarks.trials_saved --data CIFAR10_FOLDER [--seeds 8] [--output FILE]

An earlier study searches the same space on 3,000 images of CIFAR-10 at 16 px. Then the digits are searched twice with
every seed, cold and warm: both use the same seeds for training and sampler and the same start configuration, and the
warm search first trains the earlier study's best configurations. No trial is pruned, trials run one after the other,
and only validation images are used. The result counts the trials until a search first reaches each of LEVELS (null:
never within the budget), and until it reaches the best value of the same seed's cold search in all its trials. The
latter is harder: the highest of 24 values on 287 images is partly luck, and the warm search gets no such help.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from benchmarks.machine import describe_machine
from data.errors import InfeasibleConfig, TrainingDiverged
from data.spec import DataSpec
from models.config import FlexCNNConfig, TrainConfig
from models.training.fit import fit
from models.training.process import tune_process
from search import names
from search.run import run
from search.settings import Settings
from search.stage.pinning import pin_search
from search.stage.samplers import make_sampler
from search.stage.suggest import suggest_config
from search.stage.warm_start import find_warm_start
from search.store.pinned_stage import Values
from search.store.storage import open_storage
from search.store.warm_start_record import WarmStart
from search.supervisor.prepare import Request
from search.trials.workload import WorkloadBuilder, open_workload_builder
from studies.definition import Confirm, Stage, Study, choice

CPU = torch.device("cpu")
SPACE = {
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "optimizer": choice("adamw", "nadam", "sgd"),
    "weight_decay": FloatDistribution(1e-5, 1.0, log=True),
    "activation": choice("relu", "gelu", "silu"),
    "filters": choice(8, 16, 32),
    "filter_factor": choice(0.5, 1.0, 2.0),
    "batch_norm": choice(True, False),
    "dropout": FloatDistribution(0.0, 0.5),
}
TRIALS, EARLIER_TRIALS, EPOCHS = 24, 40, 4
EARLIER_IMAGES, EARLIER_PX = 3000, 16
LEVELS = (0.9, 0.95, 0.97, 0.98, 0.99)
"""Validation accuracies on the digits that a search has to reach."""


def study(name: str, image_size: int, trials: int, **more: Any) -> Study:
    """Return a study of one stage over `SPACE` at `image_size` pixels; `more` are further fields of `Study`."""
    config = FlexCNNConfig(image_size=image_size, conv_layers=2, filters=8, dense_width=32, learning_rate=1e-4)
    stage = Stage(name="all", trials=trials, epochs=EPOCHS, pruner="none", space=SPACE)
    return Study(
        name=name, description="", config=config, stages=(stage,), confirm=Confirm(finalists=1, seeds=1), **more
    )


def find_earlier(settings: Settings, folder: str, new: Study) -> tuple[dict[str, Any], WarmStart]:
    """Run the earlier study as a user would; return its result and the configurations that `new` takes from it."""
    earlier = study("earlier", EARLIER_PX, EARLIER_TRIALS, train_images=EARLIER_IMAGES)
    spec = DataSpec(source=str(Path(folder).resolve()), train_images=EARLIER_IMAGES)
    result = run(
        Request(
            settings=settings, study=earlier, spec=spec, devices=("cpu",), share=None, workers=2, fills_gpus=False,
            budget_s=None, command="benchmarks.trials_saved", notify_url=None,
        )
    )  # fmt: skip
    storage = open_storage(settings.storage_url, create=False)
    try:
        return result.to_json(), find_warm_start(storage, replace(new, warm_start=earlier.name))
    finally:
        storage.close()


def best_so_far(workloads: WorkloadBuilder, new: Study, first: Sequence[Values]) -> list[float]:
    """Search with the configurations in `first` queued; return the best validation accuracy after each trial."""
    pinned = pin_search(new, 0, new.stages[0], [new.config], first)
    trials = optuna.create_study(direction=pinned.direction, sampler=make_sampler(pinned))
    for parameters in pinned.queue:
        trials.enqueue_trial(parameters)
    best: list[float] = []
    for seed in pinned.seeds:
        trial = trials.ask()
        try:
            accuracy = accuracy_of(workloads, suggest_config(pinned, trial), seed)
        except (InfeasibleConfig, TrainingDiverged):
            trials.tell(trial, state=TrialState.PRUNED)
            accuracy = 0.0
        else:
            trials.tell(trial, accuracy)
        best.append(max([accuracy, *best[-1:]]))
    return best


def accuracy_of(workloads: WorkloadBuilder, config: TrainConfig, seed: int) -> float:
    """Train a configuration and return the validation accuracy of its best epoch."""
    data = workloads.open_data(config)
    work = workloads.prepare(config, data, seed)
    classes = len(data.search.classes)
    epochs = fit(work.learning, work.train, work.val, config, classes=classes, device=CPU, seed=seed)
    return max(metrics.val_accuracy for metrics in epochs)


def trials_until(best: Sequence[float], target: float) -> int | None:
    """Return the number of trials until the best value reaches `target`, or None if it never does."""
    return next((number for number, value in enumerate(best, start=1) if value >= target), None)


def compare(workloads: WorkloadBuilder, new: Study, warm: WarmStart, seed: int) -> dict[str, Any]:
    """Search cold and warm with one seed; return the best value after each trial of both searches."""
    cold = best_so_far(workloads, replace(new, seed=seed), ())
    warmed = best_so_far(workloads, replace(new, seed=seed), [taken.parameters for taken in warm.taken])
    return {"seed": seed, "cold": cold, "warm": warmed}


def counts(seeds: Sequence[dict[str, Any]], level: float | None) -> dict[str, Any]:
    """Count the trials until each search reaches `level`, with medians; None means its seed's best cold value."""
    found: dict[str, Any] = {"level": "best of the cold search" if level is None else level}
    for kind in ("cold", "warm"):
        numbers = [trials_until(seed[kind], seed["cold"][-1] if level is None else level) for seed in seeds]
        found[f"{kind}_median"] = statistics.median(TRIALS + 1 if number is None else number for number in numbers)
        found[f"{kind}_reached"] = sum(number is not None for number in numbers)
        found[kind] = numbers
    return found


def main() -> None:
    """Run the earlier study and all comparisons, and print or write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="CIFAR10_FOLDER")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    started = time.monotonic()
    new = study("digits", 8, TRIALS, data="digits")
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        settings = Settings(
            home=home,
            storage_url=f"sqlite:///{home / names.STORAGE_FILE}",
            tracking_url=f"sqlite:///{home / names.TRACKING_FILE}",
            artifact_location=(home / names.ARTIFACT_FOLDER).as_uri(),
            data_home=home / names.DATA_FOLDER,
        )
        earlier, warm = find_earlier(settings, options.data, new)
        tune_process()
        workloads = open_workload_builder(DataSpec(source="digits"), settings, CPU)
        seeds = [compare(workloads, new, warm, seed) for seed in range(options.seeds)]
    result = {
        "budget_trials": TRIALS,
        "earlier_best_val_accuracy": earlier["stages"][0]["best"],
        "warm_start": warm.to_json(),
        "trials_until": [counts(seeds, level) for level in (*LEVELS, None)],
        "final_best_cold": statistics.fmean(seed["cold"][-1] for seed in seeds),
        "final_best_warm": statistics.fmean(seed["warm"][-1] for seed in seeds),
        "seeds": seeds,
        "wall_s": round(time.monotonic() - started, 1),
        "machine": describe_machine(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
