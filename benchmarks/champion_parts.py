"""Measure what each part of fine-tuning and of combining finalists brings, one at a time, against partB's start.

    python -m benchmarks.champion_parts --data FOLDER --weights FILE --home FOLDER [--images 2000] [--parts start,flip]

The start trains the last three children of the backbone and a new head, on stored feature maps. Five folds of the
training images, and the seeds 0 to 4: a part is trained on each fold, with the seed of the fold's number, and compared
with the start on the same fold and seed. Mirrored images, soup, ensemble and temperature are made of the start's five
runs on each fold. `head_first` and `gradual` train the whole network and are compared with `unfreeze_all`. The accuracy
is that of the last epoch, so no epoch is chosen by it. No test image is read. The result is stored after every fold in
`benchmarks/results/champion-parts-FOLDER.json`, or `champion-parts-FOLDER-IMAGES.json` with `--images`; the same
command continues after a stop.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, nn

from benchmarks.champion_table import ENSEMBLE, MIRRORED, SINGLE, SOUP, START, TEMPERATURE, WHOLE
from benchmarks.results import read_result, write_result
from data.errors import UserError
from data.spec import DataSpec
from models.calibration import fit_temperature, temper
from models.combined import Ensemble, average_weights, learned_statistics, measure_statistics
from models.config import BackboneConfig, TrainConfig
from models.training.fit import fit
from models.training.process import tune_process
from models.values import to_flat, with_values
from search.cli import CommandParser, main_guard
from search.settings import Settings
from search.trials.validation_predictions import Probabilities, ValidationPredictions, predict
from search.trials.workload import WorkloadBuilder, input_statistics, open_workload_builder
from search.verdict.calibration_error import reliability
from studies.part_b import PART_B

CPU = torch.device("cpu")
FOLDS = SEEDS = 5
TRAINED: Mapping[str, Mapping[str, object]] = {
    START: {},
    "trivial_augment": {"auto_augment": "trivial_augment"},
    "rand_augment": {"auto_augment": "rand_augment"},
    "layer_decay": {"layer_decay": 0.8},
    "ema_decay": {"ema_decay": 0.95},
    "label_smoothing": {"label_smoothing": 0.1},
    "flip": {"flip": 0.5},
    "resized_crop": {"resized_crop": 0.6},
    "dropout": {"dropout": 0.2},
    WHOLE: {"freezing": "unfreeze_all", "learning_rate": 3e-4},
    "head_first": {"freezing": "head_first", "learning_rate": 3e-4},
    "gradual": {"freezing": "gradual", "learning_rate": 3e-4},
}
"""The values that each part changes. EMA's decay averages about 20 steps: the trainings are short."""
DEFAULT_PARTS = tuple(TRAINED)[:-3]
"""Parts that are measured if none are named: those that train the whole network take many times as long."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One classifier on the validation images of one fold."""

    part: str
    fold: int
    seed: int | None
    """None: made of the runs of all seeds."""
    accuracy: float
    loss: float
    """Mean cross-entropy."""
    calibration_error: float | None = None
    duration_s: float = 0.0
    """Seconds of the training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A run, its network after the last epoch, and that network's predictions in float32."""

    run: Run
    network: nn.Module
    predictions: ValidationPredictions


def start_config(options: argparse.Namespace) -> BackboneConfig:
    """The start of partB with three children trained, since most parts change nothing on a frozen backbone.

    It computes in float32: on a CPU, backward passes of depthwise convolutions are faster than in bfloat16.
    """
    assert isinstance(PART_B.config, BackboneConfig)
    return replace(
        PART_B.config, backbone=options.backbone, weights=options.weights, freezing="freeze_partial",
        trainable_children=3, precision="fp32", image_size=options.image_size, epochs=options.epochs,
    )  # fmt: skip


def train(workloads: WorkloadBuilder, config: TrainConfig, part: str, fold: int, seed: int) -> Trained:
    """Train a configuration to its last epoch, whose weights it keeps."""
    started_s = time.perf_counter()
    data = workloads.open_data(config, fold)
    work = workloads.prepare(config, data, seed)
    epochs = fit(
        work.learning, work.train, work.val, config, classes=len(data.search.classes), device=CPU, seed=seed
    )  # fmt: skip
    last = next(metrics for metrics in epochs if metrics.epoch == config.epochs)
    epochs.close()  # type: ignore[attr-defined]  # Before it restores the weights of the best epoch.
    return Trained(
        run=Run(
            part=part, fold=fold, seed=seed, accuracy=last.val_accuracy, loss=last.val_loss,
            duration_s=round(time.perf_counter() - started_s, 2),
        ),
        network=work.model,
        predictions=predict(work.model, data.val_batches(work.preprocessing)),
    )  # fmt: skip


def combine(workloads: WorkloadBuilder, config: TrainConfig, fold: int, trained: Sequence[Trained]) -> Iterator[Run]:
    """The runs that are made of the start's runs on a fold."""
    data = workloads.open_data(config, fold)
    seen = input_statistics(config, data)
    val = data.val_batches(seen)
    for one in trained:
        seed, labels_M = one.run.seed, one.predictions.labels_M
        yield _judge(SINGLE, fold, seed, labels_M, one.predictions.probabilities_MC)
        both = predict(Ensemble([one.network], [config], mirror=True), val)
        yield _judge(MIRRORED, fold, seed, labels_M, both.probabilities_MC)
        yield _judge(TEMPERATURE, fold, seed, labels_M, _tempered(one.predictions))
    mean_MC = np.stack([one.predictions.probabilities_MC for one in trained]).mean(axis=0)
    labels_M = trained[0].predictions.labels_M
    yield _judge(ENSEMBLE, fold, None, labels_M, mean_MC)
    weights = [one.network.state_dict() for one in trained]
    network = deepcopy(trained[0].network)
    network.load_state_dict(average_weights(weights))
    batches = data.train_batches(config, seen).epoch(Generator().manual_seed(0))
    measure_statistics(network, learned_statistics(weights, network), (batch.images_NCHW for batch in batches))
    yield _judge(SOUP, fold, None, labels_M, predict(network, val).probabilities_MC)


def _tempered(predictions: ValidationPredictions) -> Probabilities:
    """The probabilities with a temperature that was fitted to the other half of the images."""
    tempered_MC = predictions.probabilities_MC.copy()
    is_even_M = np.arange(len(tempered_MC)) % 2 == 0
    for half_M in (is_even_M, ~is_even_M):
        temperature = fit_temperature(predictions.probabilities_MC[~half_M], predictions.labels_M[~half_M])
        tempered_MC[half_M] = temper(predictions.probabilities_MC[half_M], temperature)
    return tempered_MC


def _judge(part: str, fold: int, seed: int | None, labels_M: Any, probabilities_MC: Probabilities) -> Run:
    is_right_M = probabilities_MC.argmax(axis=1) == labels_M
    of_label_M = probabilities_MC[np.arange(len(labels_M)), labels_M].astype(np.float64)
    return Run(
        part=part, fold=fold, seed=seed, accuracy=float(is_right_M.mean()),
        loss=float(-np.log(np.maximum(of_label_M, 1e-38)).mean()),
        calibration_error=reliability(probabilities_MC.max(axis=1), is_right_M).error,
    )  # fmt: skip


def measure(workloads: WorkloadBuilder, config: BackboneConfig, part: str, fold: int) -> list[Run]:
    """Measure a part on one fold; the start with all seeds, and with what is made of its runs."""
    own = with_values(config, dict(TRAINED[part]))
    if part != START:
        return [train(workloads, own, part, fold, seed=fold).run]
    trained = [train(workloads, own, part, fold, seed) for seed in range(SEEDS)]
    return [*(one.run for one in trained), *combine(workloads, own, fold, trained)]


def stored_runs(name: str, stored: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The runs that are stored already. Raises UserError if those were measured with other settings."""
    if stored is None:
        return []
    differing = [key for key, value in settings.items() if stored.get(key) != value]
    if differing:
        raise UserError(
            f"benchmarks/results/{name}.json was measured with another {' and '.join(differing)}; measure with the "
            "same, or move that file away"
        )
    return list(stored["runs"])


def main() -> None:
    """Measure the parts on every fold, and store each result when it is there."""
    options = _parser().parse_args()
    tune_process()
    source, config = Path(options.data).resolve(), start_config(options)
    named = {**to_flat(config), "weights": Path(options.weights).name}
    settings = {"data": source.name, "images": options.images, "folds": FOLDS, "start": named}
    name = f"champion-parts-{source.name}" + (f"-{options.images}" if options.images else "")
    runs = stored_runs(name, read_result(name), settings)
    spec = DataSpec(source=str(source), folds=FOLDS, train_images=options.images)
    home = options.home.resolve()
    own = Settings(home=home, storage_url="", tracking_url="", artifact_location=None, data_home=home / "data")
    workloads = open_workload_builder(spec, own, CPU)
    done = {(run["part"], run["fold"]) for run in runs}
    for part in options.parts.split(",") if options.parts else DEFAULT_PARTS:
        for fold in range(FOLDS):
            if (part, fold) not in done:
                runs += [asdict(run) for run in measure(workloads, config, part, fold)]
                write_result(name, {**settings, "runs": runs}, indent=None)
                print(f"{part}, fold {fold}: {runs[-1]['accuracy']:.4f}", file=sys.stderr, flush=True)


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m benchmarks.champion_parts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="folder of images")
    parser.add_argument("--weights", required=True, help="file of the backbone's weights")
    parser.add_argument("--home", required=True, type=Path, help="folder for decoded images")
    parser.add_argument("--backbone", default="timm/tf_efficientnet_lite0")
    parser.add_argument("--images", type=int, default=0, help="number of training images to use (default: all)")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--parts", default="", help="names, separated by commas (default: those of short trainings)")
    return parser


if __name__ == "__main__":
    sys.exit(main_guard(main))
