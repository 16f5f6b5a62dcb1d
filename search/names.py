"""Every name that is stored: files, Optuna studies and attributes, MLflow tags. Each is spelled in this file only."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

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
"""Parameter: the index of the base that the trial started from; in the confirmation, of the finalist."""
CONFIG = "config"
"""Attribute: the whole configuration as a flat dict."""
SEED = "seed"
REASON = "reason"
"""Attribute: why a trial was pruned, ran out of time, was found infeasible, or failed."""
INFEASIBLE = "infeasible"
"""Attribute: marks a trial whose network cannot be built or does not fit into memory."""
OUT_OF_TIME = "out_of_time"
"""Attribute: marks a trial that the time budget cut in mid-training."""
PAUSED = "paused"
"""Attribute: the epoch after which a trial paused, because it was not among the better half at that epoch."""
HAND_PICKED = "hand_picked"
"""Attribute: marks a trial whose parameters the user chose with `sieve try`."""
SKIPPED = "skipped"
"""Attribute: marks a planned trial that was never begun: the time budget was used up, or its stage ended early."""
BEST_EPOCH = "best_epoch"
VAL_ACCURACY = "val_accuracy"
"""Attribute: validation accuracy at the best epoch, whatever metric the study optimises."""
DURATION_S = "duration_s"
EPOCHS_DONE = "epochs_done"
EPOCH_S = "epoch_s"
"""Attribute: mean seconds per epoch, training and validation, without start-up and saving."""
SPENT_S = "spent_s"
"""Attribute: seconds spent on `checkpoint` (keeping weights, writing checkpoints) and `service` (reporting epochs to
the database, asking the pruner). It is one attribute because each attribute costs a transaction."""
PARAMETERS = "parameters"
MACS = "macs"
"""Attribute: multiply-accumulates for one image, for networks that Sieve can count."""
PROBE = "probe"
"""Attribute: how a backbone was probed, e.g. the weight decay of its classifier and the seconds of the extraction."""
LEARNING_PARAMETERS = "learning_parameters"
"""Attribute: the number of parameters that training changes."""
WORKER = "worker"
DEVICE = "device"
"""Attribute: the torch device that trained the trial."""
GANG = "gang"
"""Attribute: the number of trials that were trained together; the trial's times are its share."""
MICRO_BATCHES = "micro_batches"
"""Attribute: the number of pieces each batch was split into because the device ran out of memory."""
STEPS = "steps"
"""Attribute: why the training steps were run one by one on a GPU instead of being recorded and replayed."""
FAULTS = "faults"
"""Attribute: how often this trial broke the process that ran it."""
CLASSIFIER_HASH = "classifier_hash"
"""Attribute: the hash of a finalist's classifier when it was saved. Promotion checks that it is unchanged."""
LOSSES = "losses"
"""Attribute: how often the worker of this trial was lost."""

CHAMPION_ALIAS = "champion"


def optuna_study(study: str, position: int, stage: str) -> str:
    """The name of a stage's Optuna study, e.g. `partA/1-architecture`, `partA/confirm` or `partA/ablation`."""
    return f"{study}/{stage}" if stage in LAST_STAGES else f"{study}/{position + 1}-{stage}"


def registered_model(study: str) -> str:
    """The study's name with the characters that MLflow allows for a registered model.

    A name that had to be changed ends in a hash of the study's name, so that no two studies share a model.
    """
    allowed = re.sub(r"[^\w.-]+", "-", study).strip("-")
    return study if allowed == study else f"{allowed or 'study'}-{sha256(study.encode()).hexdigest()[:6]}"


def metric_key(metric: str) -> str:
    """A metric's name with the characters that MLflow allows: the name of a class may have others."""
    return re.sub(r"[^\w.:-]+", "_", metric)


def study_folder(home: Path, study: str) -> Path:
    """The folder with a study's files."""
    return home / "studies" / study


def answers_file(home: Path, study: str, look: int) -> Path:
    """The table of a study's answers at one look at the test set."""
    return study_folder(home, study) / f"look-{look}.csv"


def trial_folder(home: Path, study: str, stage: str, number: int) -> Path:
    """The folder with one trial's checkpoint and, for a finalist, its classifier."""
    return study_folder(home, study) / "trials" / f"{stage}-{number}"


WATCH_PORT = 8090
"""The port on which `sieve watch` serves the live page unless it is given another one."""


def watch_url(study: str | None = None, port: int = WATCH_PORT) -> str:
    """The address of a study's live page, or of the list of all studies."""
    origin = f"http://127.0.0.1:{port}/"
    return origin if study is None else f"{origin}studies/{quote(study, safe='')}"
