"""Every name that is stored somewhere: files, Optuna studies and attributes, MLflow tags. One spelling, one place."""

from __future__ import annotations

from pathlib import Path

from studies.definition import ABLATION_STAGE as ABLATION_STAGE
from studies.definition import CONFIRM_STAGE as CONFIRM_STAGE
from studies.definition import LAST_STAGES as LAST_STAGES

# Below --home
STORAGE_FILE = "sieve.db"
TRACKING_FILE = "mlflow.db"
ARTIFACT_FOLDER = "artifacts"
CACHE_FOLDER = "cache"
FEATURES_FOLDER = "features"
DATA_FOLDER = "data"
CHECKPOINT_FILE = "checkpoint.pt"
BUNDLE_FOLDER = "classifier"
PREDICTIONS_FILE = "answers/validation.npz"

# Parameters and user attributes of an Optuna trial
BASE = "base"
"""Parameter: which of the stage's bases (in the confirmation: which finalist) the trial started from."""
CONFIG = "config"
"""The whole configuration, flat."""
SEED = "seed"
REASON = "reason"
"""Why a trial was pruned, ran out of time, was found infeasible, or failed."""
INFEASIBLE = "infeasible"
"""Marks a trial whose network cannot be built or does not fit into memory."""
OUT_OF_TIME = "out_of_time"
"""Marks a trial that the time budget cut in mid-training."""
SKIPPED = "skipped"
"""Marks a planned trial that was never begun because the time budget was used up."""
BEST_EPOCH = "best_epoch"
VAL_ACCURACY = "val_accuracy"
"""At the best epoch, whatever metric the study optimises."""
DURATION_S = "duration_s"
EPOCHS_DONE = "epochs_done"
EPOCH_S = "epoch_s"
"""Seconds of an epoch, training and validation, without what comes before and after."""
SPENT_S = "spent_s"
"""Of the trial's time: `checkpoint`, on keeping weights and writing checkpoints; `service`, on telling the database of
epochs and asking the pruner. One attribute, since each costs a transaction."""
PARAMETERS = "parameters"
MACS = "macs"
"""Multiply-accumulates of one image, where they are counted."""
LEARNING_PARAMETERS = "learning_parameters"
"""Of those, the ones that training changes."""
WORKER = "worker"
DEVICE = "device"
"""The torch device that trained it."""
MICRO_BATCHES = "micro_batches"
"""Pieces that its batches were cut into because the device's memory ran out."""
FAULTS = "faults"
"""How often this trial broke the process that ran it."""
CLASSIFIER_HASH = "classifier_hash"
"""Of a finalist's classifier, when it was kept: what is promoted is that."""
LOSSES = "losses"
"""How often the worker of this trial was lost."""

CHAMPION_ALIAS = "champion"


def optuna_study(study: str, position: int, stage: str) -> str:
    """`partA/1-architecture`; the confirmation is `partA/confirm`, an ablation `partA/ablation`."""
    return f"{study}/{stage}" if stage in LAST_STAGES else f"{study}/{position + 1}-{stage}"


def study_folder(home: Path, study: str) -> Path:
    """Where a study keeps its files."""
    return home / "studies" / study


def trial_folder(home: Path, study: str, stage: str, number: int) -> Path:
    """Where one trial keeps its checkpoint and, if it is a finalist's, its classifier."""
    return study_folder(home, study) / "trials" / f"{stage}-{number}"
