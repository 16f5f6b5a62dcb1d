"""Label errors among a study's images, from its finalists' predictions on images that they were not trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.arrays import IntArray, SearchData, UInt8Array
from data.cache import open_search_data
from data.files import write_csv
from data.progress import Progress
from models.registry import resolved
from models.values import from_flat
from search import names
from search.settings import Settings
from search.stage.snapshot import stage_trials
from search.store.records import StudyRecord, read_stages
from search.store.storage import Storage
from search.trials.artifacts import open_artifacts
from search.trials.validation_predictions import Probabilities, read_predictions
from search.verdict.champion import read_finalists
from search.verdict.label_errors import LabelError, rank_label_errors

FILE = "label-errors.csv"


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """The ranked label errors of a study."""

    errors: tuple[LabelError, ...]
    """The most suspicious first."""
    images: int
    """Images that a finalist was validated on; all searched images if the study has folds."""
    data: SearchData
    rows: tuple[int, ...]
    """Row of the pool for each error."""

    def pictures(self, count: int) -> UInt8Array:
        """The first pictures, shape (count, H, W, C)."""
        return self.data.train.pool_NHWC[np.array(self.rows[:count], dtype=np.int64)]

    def write(self, path: Path) -> None:
        """Write the list as CSV. Raises UserError if it cannot be written."""
        write_csv(path, LabelError._fields, (_line(error) for error in self.errors))


def _line(error: LabelError) -> tuple[object, ...]:
    """A line of the CSV."""
    return (*error[:3], f"{error.own_probability:.4f}", f"{error.suggested_probability:.4f}", error.is_confident)


def find_label_errors(
    settings: Settings, storage: Storage, record: StudyRecord, progress: Progress | None = None
) -> HeldOut | None:
    """Rank the images that the finalists were validated on; None before a finalist has kept its predictions."""
    stage = next((stage for stage in read_stages(storage, record.name) if stage.name in names.LAST_STAGES), None)
    trials = stage_trials(storage, stage) if stage else []
    if stage is None or not any(names.CLASSIFIER_HASH in trial.user_attrs for trial in trials):
        return None
    pinned = stage.pinned
    root = open_artifacts(settings).root
    by_fold: dict[int, list[Probabilities]] = defaultdict(list)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    for trial in complete:
        kept = read_predictions(names.trial_folder(root, record.name, stage.name, trial.number))
        if kept is not None:
            by_fold[pinned.folds_of(trial.number)[0]].append(kept.probabilities_MC)
    if not by_fold:
        return None
    config = resolved(from_flat(read_finalists(stage, trials)[0].config))
    rows, labels, probabilities = [], [], []
    for fold, answers in sorted(by_fold.items()):
        data = open_search_data(
            replace(record.data.spec, fold=fold),
            image_size=config.image_size,
            image_fit=config.image_fit,
            data_home=settings.data_home,
            cache_home=settings.cache_home,
            progress=progress,
            limit=settings.cache_limit,
        )
        if data.fingerprint != record.data.fingerprint or len(data.val) != len(answers[0]):
            return None  # The images have changed since; their rows are others.
        rows.append(data.val.rows_M)
        labels.append(data.val.labels_M)
        probabilities.append(np.mean(answers, axis=0))
    return _ranked(data, np.concatenate(rows), np.concatenate(labels), np.concatenate(probabilities))


def _ranked(data: SearchData, rows_N: IntArray, labels_N: IntArray, probabilities_NC: Probabilities) -> HeldOut:
    image_names: Sequence[str] = [data.names[row] for row in rows_N.tolist()]
    errors = rank_label_errors(labels_N, probabilities_NC, image_names, data.classes)
    row_of = {name: row for name, row in zip(image_names, rows_N.tolist(), strict=True)}
    return HeldOut(
        errors=tuple(errors), images=len(rows_N), data=data, rows=tuple(row_of[error.name] for error in errors)
    )
