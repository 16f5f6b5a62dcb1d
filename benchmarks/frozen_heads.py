"""Train 64 heads on a frozen backbone: from stored features, and with every image through the backbone in every epoch.

    python -m benchmarks.frozen_heads --data FOLDER --backbone timm/tf_efficientnet_lite0 --weights FILE [--json]

Stored: the extraction and 64 trainings of 20 epochs are timed, in gangs of 16 as in a search. Not stored: two epochs of
one training are timed after a warm-up and multiplied, since every epoch does the same work; the result's name says so.
Both run in one process with one thread, without the search service.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.machine import describe_machine
from data.spec import DataSpec
from models.config import BackboneConfig
from models.finetuning import BackboneClassifier, build_head
from models.registry import resolved
from models.training.feature_batches import FeatureEvalBatches, FeatureTrainBatches
from models.training.fit import fit
from models.training.gang import Gang
from models.training.process import tune_process
from search.settings import Settings
from search.trials.workload import WorkloadBuilder, input_statistics, open_workload_builder

CPU = torch.device("cpu")
TRIALS, EPOCHS, GANG = 64, 20, 16
TIMED_EPOCHS = 2


def config_of(backbone: str, weights: str) -> BackboneConfig:
    """Return the configuration of one head on the frozen backbone, with the weights' own image size."""
    config = resolved(BackboneConfig(backbone=backbone, weights=weights, epochs=EPOCHS, batch_size=32, dropout=0.2))
    assert isinstance(config, BackboneConfig)
    return config


def stored_s(workloads: WorkloadBuilder, config: BackboneConfig) -> tuple[float, float]:
    """Return the seconds that extracting the features takes, and those of all trainings on them."""
    started = time.perf_counter()
    data = workloads.open_data(config)
    work = workloads.prepare(config, data, seed=0)
    extracted = time.perf_counter()
    assert isinstance(work.model, BackboneClassifier)
    assert isinstance(work.train, FeatureTrainBatches) and isinstance(work.val, FeatureEvalBatches)
    classes = len(data.search.classes)
    last = work.model.head[-1]
    assert isinstance(last, torch.nn.Linear)
    for first in range(0, TRIALS, GANG):
        configs = [replace(config, learning_rate=1e-4 * 1.1 ** (first + slot)) for slot in range(GANG)]
        heads = [build_head(own, last.in_features, classes) for own in configs]
        seeds = list(range(first, first + GANG))
        for _ in Gang(heads, work.train, work.val, configs, classes=classes, device=CPU, seeds=seeds):
            pass
    return extracted - started, time.perf_counter() - extracted


def not_stored_epoch_s(workloads: WorkloadBuilder, config: BackboneConfig) -> float:
    """Return the seconds of one epoch that passes every image through the whole network."""
    data = workloads.open_data(config)
    torch.manual_seed(0)
    model = workloads.build(config, data)
    seen = input_statistics(config, data)
    short = replace(config, epochs=1 + TIMED_EPOCHS)
    epochs = fit(
        model, data.train_batches(short, seen), data.val_batches(seen), short,
        classes=len(data.search.classes), device=CPU, seed=0,
    )  # fmt: skip
    return sum(metrics.duration_s for metrics in list(epochs)[1:]) / TIMED_EPOCHS


def main() -> None:
    """Measure both ways and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    tune_process()
    config = config_of(options.backbone, options.weights)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        settings = Settings(home=home, storage_url="", tracking_url="", artifact_location=None, data_home=home / "data")
        workloads = open_workload_builder(DataSpec(source=str(Path(options.data).resolve())), settings, CPU)
        workloads.open_data(config)  # Decode first: decoding is the same for both and is not counted.
        extraction, training = stored_s(workloads, config)
        epoch = not_stored_epoch_s(workloads, config)
    result = {
        "trials": TRIALS,
        "epochs": EPOCHS,
        "stored_extraction_s": extraction,
        "stored_training_s": training,
        "not_stored_epoch_s": epoch,
        "not_stored_s_by_multiplication": epoch * EPOCHS * TRIALS,
        "ratio": epoch * EPOCHS * TRIALS / (extraction + training),
        "machine": describe_machine(),
    }
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key}: {value}", file=sys.stdout)


if __name__ == "__main__":
    main()
