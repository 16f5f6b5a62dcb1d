"""After k folds: trains the champion's configuration once more, on all training images.

The folds measured the configuration's accuracy; a model of one fold would not have learned from the images held out
there. No images are left to validate on, so the epoch with the lowest loss on its own training images is kept, in
effect the last. Source: Hastie et al. 2009, The Elements of Statistical Learning, section 7.10.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.arrays import ImageSet
from data.batches import to_device
from data.spec import DataSpec
from data.splits import thin_out
from models.bundle import save_bundle
from models.calibration import UNCALIBRATED, Calibration
from models.metric_names import VAL_LOSS
from models.registry import resolved
from models.training.fit import fit
from models.values import from_flat, with_values
from search import names
from search.stage.seeds import derive_seed
from search.trials.data_source import TrialData
from search.trials.working_files import remove_half_written_bundles
from search.trials.workload import WorkloadBuilder


def refit(
    workloads: WorkloadBuilder,
    config: dict[str, object],
    study_seed: int,
    folder: Path,
    device: torch.device,
    calibration: Calibration = UNCALIBRATED,
) -> tuple[Path, int]:
    """Train and save the classifier below `folder`; returns its folder and the number of images it was trained on.

    `calibration` was fitted on the predictions for the held-out folds, because no image is left to fit it on here.
    """
    chosen = with_values(resolved(from_flat(config)), {"patience": 0})
    data = _all_images(workloads.open_data(chosen), workloads.spec, device)
    work = workloads.prepare(chosen, data, derive_seed(study_seed, "refit"))
    classes = data.search.classes
    training = fit(
        work.learning, work.train, work.val, chosen,
        classes=len(classes), device=device, seed=derive_seed(study_seed, "refit"), metric=VAL_LOSS,
    )  # fmt: skip
    for _ in training:
        pass
    bundle = folder / names.BUNDLE_FOLDER
    shutil.rmtree(bundle, ignore_errors=True)  # Left by a promotion that was interrupted.
    remove_half_written_bundles(folder)
    save_bundle(
        bundle, work.model, chosen,
        classes=classes, input_shape=data.input_shape, mean=work.preprocessing.mean, std=work.preprocessing.std,
        pixel_rule=data.search.pixel_rule, calibration=calibration,
    )  # fmt: skip
    return bundle, len(data.search.train)


def _all_images(data: TrialData, spec: DataSpec, device: torch.device) -> TrialData:
    """All images as training images; those of the first fold are also the validation images.

    A class that the study makes rare is as rare here as in the folds.
    """
    train, val = data.search.train, data.search.val
    rows_M = np.concatenate([train.rows_M, val.rows_M])
    labels_M = np.concatenate([train.labels_M, val.labels_M])
    if spec.imbalance > 1:
        kept_M, _ = thin_out(labels_M, data.search.classes, spec)
        rows_M, labels_M = rows_M[kept_M], labels_M[kept_M]
    everything = ImageSet(pool_NHWC=train.pool_NHWC, rows_M=rows_M, labels_M=labels_M)
    return replace(data, search=replace(data.search, train=everything), train=to_device(everything, device))
