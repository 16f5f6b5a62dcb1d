"""All pictures of a study's champion, as PNG files with an index of titles and captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.cache import open_search_data
from data.errors import SieveError, UserError
from data.files import read_json, write_json, writing_below
from data.progress import Progress
from models.bundle import Classifier
from search import names
from search.pictures.attribution import grad_cam_picture, guided_backprop_picture
from search.pictures.calibration import calibration_picture
from search.pictures.confusion import confusion_picture, write_confusion
from search.pictures.coverage import coverage_picture
from search.pictures.grids import mistakes_grid, prediction_grid
from search.pictures.label_errors import label_errors_picture
from search.pictures.layers import feature_maps_picture, first_layer_picture
from search.pictures.per_class import class_scores_picture
from search.pictures.predictions import Predictions, load_predictions, look_file, predictions_of
from search.pictures.sheet import Sheet
from search.pictures.subject import subject_of
from search.settings import Settings
from search.stage.moved_pictures import locate_images
from search.store.find import find_champion, find_study
from search.store.records import StudyRecord
from search.store.seal import looks
from search.store.storage import Storage, open_storage
from search.terminal import say
from search.tracking.log_pictures import log_pictures
from search.tracking.model_registry import load_champion
from search.verdict.held_out import FILE as LABEL_ERROR_FILE
from search.verdict.held_out import HeldOut, find_label_errors

PICTURE_FOLDER = "pictures"
CONFUSION_FILE = "confusion.csv"
INDEX_FILE = "index.json"
"""Name of the index: a list of `{"file", "title", "caption"}` in the order in which to show the pictures."""
_BATCH_IMAGES = 256


def draw_pictures(
    settings: Settings,
    study: str,
    folder: Path | None = None,
    *,
    data: str | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Draw the champion's pictures, keep them with its run in MLflow, and return the PNG files in order.

    They show the images of the last look at the test set or, before the first look, validation images. Files and
    `index.json` go to `folder`, by default one in the study's folder, and replace the pictures of an earlier call.
    `data` is the folder of the images, if they were moved since the search.

    Raises UserError if the study or its champion does not exist, if the images have changed, or if a file cannot be
    written.
    """
    storage = open_storage(settings.storage_url, create=False)
    try:
        record = find_study(storage, study)
        uri = find_champion(record).model_uri
        taken = [look.number for look in looks(storage, study) if look.result and look.model_uri == uri]
        of_looks = [path for number in taken if (path := look_file(settings.home, study, number)).exists()]
        if data or not of_looks:
            record = locate_images(storage, settings, record, data, progress)
        doubtful = _label_errors(storage, settings, record, progress)
    finally:
        storage.close()
    champion = load_champion(settings, uri)
    classifier: Classifier = champion.model.unwrap_python_model().classifier  # type: ignore[no-untyped-call]
    if of_looks:
        predictions = load_predictions(of_looks[-1])
    else:
        predictions = _predict_validation(settings, record, classifier, progress)
    place = folder or names.study_folder(settings.home, study) / PICTURE_FOLDER
    paths = _write(sheets(classifier, predictions, doubtful), place)
    if doubtful:
        doubtful.write(place / LABEL_ERROR_FILE)
    write_confusion(predictions, place / CONFUSION_FILE)
    try:
        log_pictures(settings, champion.registered, paths, of_looks[-1].stem if of_looks else "validation")
    except SieveError as error:  # The files exist; MLflow only shows them.
        say(f"the pictures are drawn, but could not be sent to MLflow: {error}")
    return paths


def _label_errors(
    storage: Storage, settings: Settings, record: StudyRecord, progress: Progress | None
) -> HeldOut | None:
    """The study's probable label errors; None where its images are not there any more."""
    try:
        return find_label_errors(settings, storage, record, progress)
    except UserError as error:
        say(f"no pictures of label errors: {error}")
        return None


def _predict_validation(
    settings: Settings, record: StudyRecord, classifier: Classifier, progress: Progress | None
) -> Predictions:
    spec = record.data.spec
    data = open_search_data(
        spec,
        image_size=classifier.input_shape[1],
        image_fit=classifier.config.image_fit,
        data_home=settings.data_home,
        cache_home=settings.cache_home,
        progress=progress,
    )
    if data.fingerprint != record.data.fingerprint:
        raise UserError(
            f"{spec.source}: these are not the images of the search {record.name}: their fingerprint is "
            f"{data.fingerprint[:12]}, that of the search is {record.data.fingerprint[:12]}. Restore the images to "
            "draw the pictures"
        )
    probabilities = []
    for start in range(0, len(data.val), _BATCH_IMAGES):
        rows = data.val.rows_M[start : start + _BATCH_IMAGES]
        probabilities.append(classifier.predict_proba(data.val.pool_NHWC[rows], precision="auto"))
        if progress:
            progress("validation images", start + len(rows), len(data.val))
    refit = record.champion is not None and record.champion.refit_images is not None
    source = "images of the first fold, on which it was trained," if refit else "validation images"
    image_names = [data.names[row] for row in data.val.rows_M.tolist()]
    return predictions_of(data.val, np.concatenate(probabilities), data.classes, source, image_names)


def sheets(
    classifier: Classifier, predictions: Predictions, doubtful: HeldOut | None = None
) -> Iterator[tuple[str, Sheet | None]]:
    """Every picture with its name, one at a time because a figure takes memory; None for a picture without content."""
    yield "predictions", prediction_grid(predictions)
    yield "mistakes", mistakes_grid(predictions)
    yield "confusion", confusion_picture(predictions)
    yield "class_scores", class_scores_picture(predictions)
    yield "label_errors", label_errors_picture(doubtful)
    yield "calibration", calibration_picture(predictions)
    yield "coverage", coverage_picture(predictions)
    subject = subject_of(classifier, predictions)
    yield "first_layer", first_layer_picture(subject)
    yield "feature_maps", feature_maps_picture(subject)
    yield "guided_backprop", guided_backprop_picture(subject)
    yield "grad_cam", grad_cam_picture(subject)


def _write(sheets: Iterator[tuple[str, Sheet | None]], folder: Path) -> list[Path]:
    """Write each picture, then the index, so that the index never names a missing file."""
    index_file = folder / INDEX_FILE
    earlier = {entry["file"] for entry in read_json(index_file) or ()}
    index = []
    with writing_below(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, sheet in sheets:
            if sheet:
                sheet.save(folder / f"{name}.png")
                index.append({"file": f"{name}.png", "title": sheet.title, "caption": sheet.caption})
        write_json(index_file, index)
        for stale in earlier - {entry["file"] for entry in index}:
            (folder / stale).unlink(missing_ok=True)
    return [folder / entry["file"] for entry in index]
