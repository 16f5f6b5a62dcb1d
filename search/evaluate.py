"""Open the seal: measure a study's registered champion on the test images, once.

    sieve evaluate --study NAME

The look at the test images is recorded before the first of them is decoded. A second look is refused (exit code 1),
unless --again gives a reason, which every report then shows.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from data.arrays import ImageSet
from data.errors import SieveError, UserError
from data.progress import Progress
from data.sealed import open_test_images
from search import names
from search.cli import CommandParser, command_parser, main_guard
from search.pictures.answers import write_answers
from search.pictures.predictions import Predictions, look_file, predictions_of, save_predictions
from search.report.make import try_report
from search.settings import Settings, enter_home
from search.stage.moved_pictures import DATA_HELP, check_same_images, locate_images
from search.store.find import find_champion, find_study
from search.store.look_result import LookResult
from search.store.records import StudyRecord
from search.store.seal import close_look, looks_by_others, open_look, whoami
from search.store.storage import open_storage
from search.terminal import DataProgress, print_json, say
from search.tracking.model_registry import LoadedChampion, load_champion, log_test_result
from search.verdict.calibration_error import calibration_errors
from search.verdict.measures import measure
from search.verdict.risk_coverage import selective_results
from search.verdict.scores import score, show

BATCH_IMAGES = 256


def evaluate(
    settings: Settings,
    study: str,
    *,
    again: str | None = None,
    data: str | None = None,
    progress: Progress | None = None,
) -> LookResult:
    """Take one look at the test set with the study's champion and return its result.

    `data` is the folder of the images, if they were moved since the search.

    Raises UserError if there is no such study or champion, and SealBroken for another look without a reason in `again`.
    Once it is recorded, the look stays on record even if the evaluation fails.
    """
    storage = open_storage(settings.storage_url, create=False)
    try:
        record = find_study(storage, study)
        champion = load_champion(settings, find_champion(record).model_uri)
        # Before the seal is opened: images that are gone or have changed must not cost the look.
        record = locate_images(storage, settings, record, data, progress)
        if data is None:  # Otherwise they were compared just now.
            check_same_images(record, record.data.spec, settings, progress)
        number = open_look(storage, study, by=whoami(), model_uri=champion.registered.uri, reason=again)
        # Read after the own look is recorded: if two studies look at the same moment, at least one sees the other.
        others = tuple(look.name for look in looks_by_others(storage, record))
        result, predictions = _measure(settings, record, champion, number, progress)
        result = replace(result, looks_by_others=others)
        close_look(storage, study, number, result)
    finally:
        storage.close()
    table = names.answers_file(settings.home, study, number)
    try:
        save_predictions(predictions, look_file(settings.home, study, number))
        write_answers(predictions, table)
    except (OSError, UserError) as error:  # The result is stored all the same; the pictures show what there is.
        say(f"the result is stored, but the predictions for pictures and table could not be written: {error}")
    try:
        log_test_result(settings, champion.registered, result, table)
    except SieveError as error:  # The look is over and its result is stored; MLflow only shows it.
        say(f"the result is stored, but MLflow does not show it: {error}")
    return result


def _measure(
    settings: Settings, record: StudyRecord, champion: LoadedChampion, look: int, progress: Progress | None
) -> tuple[LookResult, Predictions]:
    """The scores, and what the pictures need: it is kept now, as nothing else may open the test images."""
    channels, height, _ = champion.input_shape
    test = open_test_images(
        record.data.spec,
        classes=champion.classes,
        channels=channels,
        image_size=height,
        image_fit=champion.image_fit,
        pixel_rule=champion.pixel_rule,
        data_home=settings.data_home,
        cache_home=settings.cache_home,
        pinned=record.data.sealed_fingerprint,
        progress=progress,
    )
    probabilities_NC = _predict(champion, test.images, progress)
    predictions = predictions_of(
        test.images, probabilities_NC, champion.classes, f"test images (look {look})", test.names
    )
    scores = score(predictions.labels_N, predictions.predicted_N, champion.classes)
    result = LookResult(
        **vars(scores),
        measures=(
            *measure(scores, predictions.labels_N, probabilities_NC, record.definition.metric),
            *calibration_errors(predictions.labels_N, probabilities_NC, champion.calibration.temperature),
        ),
        selective=selective_results(champion.calibration.thresholds, predictions.confidence_N, predictions.is_right_N),
        look=look,
        classes=tuple(champion.classes),
        model_uri=champion.registered.uri,
        fingerprint=test.fingerprint,
        note=test.note,
    )
    return result, predictions


def _predict(champion: LoadedChampion, images: ImageSet, progress: Progress | None) -> npt.NDArray[np.float32]:
    """Probability of each class for every image, shape (images, classes), in the number format of validation."""
    probabilities: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(images), BATCH_IMAGES):
        batch_NHWC = images.pool_NHWC[images.rows_M[start : start + BATCH_IMAGES]]
        probabilities.append(np.asarray(champion.model.predict(batch_NHWC, params={"precision": "auto"})))
        if progress:
            progress("test images", min(start + BATCH_IMAGES, len(images)), len(images))
    return np.concatenate(probabilities)


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.evaluate", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study whose champion to measure")
    parser.add_argument("--data", metavar="FOLDER", help=DATA_HELP)
    parser.add_argument(
        "--again", metavar="REASON",
        help="take another look at the test images; the reason stays on record, e.g. 'the labels were corrected'",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = build_parser().parse_args(argv)
    if arguments.again is not None and not arguments.again.strip():
        raise UserError("--again: the reason is empty; give the reason why another look is needed")
    settings = enter_home(arguments)
    with DataProgress() as progress:
        result = evaluate(settings, arguments.study, again=arguments.again, data=arguments.data, progress=progress)
    if arguments.json:
        print_json(result.to_json())
    else:
        show(arguments.study, result)
    table = names.answers_file(settings.home, arguments.study, result.look)
    if table.exists():
        say(f"answers {table}")
    if report := try_report(settings, arguments.study, pictures=True):
        say(f"report {report}")


if __name__ == "__main__":
    sys.exit(main_guard(main))
