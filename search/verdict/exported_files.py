"""The figures of a champion's exported files and of the finalists: speed on this machine beside validation accuracy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from data.arrays import ImageSet, IntArray, UInt8Array
from data.cache import open_search_data
from data.errors import UserError
from models.bundle import WEIGHTS, Classifier, load_bundle
from models.latency import FileFigures, measure_file, onnx_predict
from models.quantise import write_int8
from search import names
from search.settings import Settings
from search.stage.snapshot import stage_trials
from search.store.champion_record import ChampionRecord
from search.store.records import StudyRecord, read_stages
from search.store.storage import Storage
from search.trials.artifacts import open_artifacts
from search.verdict.champion import read_finalists

INT8_FILE = "model-int8.onnx"
_CALIBRATION_IMAGES = 128
_MOST_SCORED = 2000
_MOST_FINALISTS = 5


def add_int8(
    settings: Settings, storage: Storage, record: StudyRecord, champion: ChampionRecord, folder: Path, onnx_file: str
) -> list[FileFigures]:
    """Write the ONNX file in a champion's folder with 8-bit integers; measure all its files, and the other finalists.

    The ranges are those of validation images; test images have no part in it. Raises UserError if the study's images
    are not there any more.
    """
    classifier, int8 = load_bundle(folder), folder / INT8_FILE
    last = next(stage for stage in read_stages(storage, record.name) if stage.pinned.is_final)
    validation = _validation(settings, record, classifier, last.pinned.folds_of(champion.trial)[0])
    write_int8(folder / onnx_file, _some(validation, _CALIBRATION_IMAGES)[0], int8)
    images_NHWC, labels_N = _some(validation, _MOST_SCORED)
    # After folds the champion was trained on all images: none is left to validate it.
    judge_N = labels_N if champion.refit_images is None else None
    figures = [measure_file(folder / WEIGHTS, classifier.predict_proba, images_NHWC, judge_N)]
    for path in (folder / onnx_file, int8):
        figures.append(measure_file(path, onnx_predict(path), images_NHWC, judge_N))
    root = open_artifacts(settings).root
    finalists = read_finalists(last, stage_trials(storage, last))[:_MOST_FINALISTS]
    for finalist in [finalist for finalist in finalists if finalist.index != champion.finalist]:
        number = next(iter(finalist.trials.values()))
        bundle = names.trial_folder(root, record.name, last.name, number) / names.BUNDLE_FOLDER
        if bundle.exists():
            other = load_bundle(bundle)
            validation = _validation(settings, record, other, last.pinned.folds_of(number)[0])
            measured = measure_file(bundle / WEIGHTS, other.predict_proba, *_some(validation, _MOST_SCORED))
            figures.append(replace(measured, file=f"finalist {finalist.index + 1} ({last.name} #{number}) {WEIGHTS}"))
    return figures


def _validation(settings: Settings, record: StudyRecord, classifier: Classifier, fold: int) -> ImageSet:
    spec = record.data.spec
    data = open_search_data(
        replace(spec, fold=fold),
        image_size=classifier.input_shape[1],
        image_fit=classifier.config.image_fit,
        data_home=settings.data_home,
        cache_home=settings.cache_home,
        limit=settings.cache_limit,
    )
    if data.fingerprint != record.data.fingerprint:
        raise UserError(f"{spec.source}: these are not the images of the search {record.name}; restore them for --int8")
    return data.val


def _some(images: ImageSet, most: int) -> tuple[UInt8Array, IntArray]:
    """At most so many images, evenly from all of them, with their classes."""
    step = -(-len(images) // most)
    return np.asarray(images.pool_NHWC[images.rows_M[::step]]), images.labels_M[::step]
