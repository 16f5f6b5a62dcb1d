"""A classifier's answers as a table: a line for each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data.files import write_csv
from search.pictures.predictions import Predictions, ranked_mistakes

HEADER = ("path", "truth", "answer", "probability", "mistake_rank")


def write_answers(predictions: Predictions, path: Path) -> None:
    """Write a table of true class, predicted class and its probability, in the order of the images.

    `mistake_rank` is 1 for the most confident mistake, and empty for a correct answer. Raises UserError if the table
    cannot be written.
    """
    write_csv(path, HEADER, _lines(predictions))


def _lines(predictions: Predictions) -> Iterator[tuple[object, ...]]:
    mistakes = ranked_mistakes(predictions.labels_N, predictions.probabilities_NC)
    rank_of = {image: rank for rank, image in enumerate(mistakes.tolist(), start=1)}
    truths, answers = predictions.labels_N.tolist(), predictions.predicted_N.tolist()
    for image, probability in enumerate(predictions.confidence_N.tolist()):
        name = "" if predictions.names_N is None else str(predictions.names_N[image])
        truth, answer = predictions.classes[truths[image]], predictions.classes[answers[image]]
        yield name, truth, answer, f"{probability:.4f}", rank_of.get(image, "")
