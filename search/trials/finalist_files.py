"""The files of a finalist: its classifier, and its predictions on the validation images."""

from __future__ import annotations

import shutil

from torch import nn

from data.files import hash_folder
from models.bundle import save_bundle
from models.calibration import calibrate
from models.config import TrainConfig
from models.preprocessing import Preprocessing
from search import names
from search.store.claims import renew
from search.trials.data_source import TrialData
from search.trials.trial_run import TrialRun
from search.trials.validation_predictions import predict, save_predictions


def save_finalist(
    run: TrialRun, model: nn.Module, data: TrialData, config: TrainConfig, preprocessing: Preprocessing
) -> None:
    """Save a finalist's classifier, and note its hash among the trial's attributes.

    Raises LeaseLost if another worker has the trial by now, since the folder is that worker's then.
    """
    context, folder = run.context, run.folder / names.BUNDLE_FOLDER
    renew(context.storage, run.claim, lease_s=context.timing.lease_s)
    shutil.rmtree(folder, ignore_errors=True)  # Left by a worker that died before it reported its result.
    predictions = predict(model, data.val_batches(preprocessing))
    save_predictions(run.folder, predictions)
    save_bundle(
        folder, model, config,
        classes=data.search.classes, input_shape=data.input_shape, mean=preprocessing.mean, std=preprocessing.std,
        pixel_rule=data.search.pixel_rule, calibration=calibrate(predictions.probabilities_MC, predictions.labels_M),
    )  # fmt: skip
    context.artifacts.upload(folder)
    context.artifacts.upload((run.folder / names.PREDICTIONS_FILE).parent)
    run.attributes[names.CLASSIFIER_HASH] = hash_folder(folder)
