"""Scores of a classifier, and the result of a look at the sealed test set as its database row keeps it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

DENSE_CLASSES = 200
"""Number of classes up to which a confusion matrix is stored whole, and above which without its zeros."""


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Scores of one class."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """Number of images that belong to the class."""

    def to_json(self) -> dict[str, Any]:
        """The object that a stored result holds for the class."""
        return {
            "class": self.name,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "support": self.support,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ClassScores:
        """Read a stored object."""
        return cls(name=stored["class"], **{key: value for key, value in stored.items() if key != "class"})


@dataclass(frozen=True, kw_only=True)
class MeasureScore:
    """A measure beyond accuracy, such as AUROC."""

    name: str
    """Name for people."""
    value: float
    interval: tuple[float, float] | None
    """95 % confidence interval; None if the images do not give one."""

    def to_json(self) -> dict[str, Any]:
        """The object that a stored result holds for the measure."""
        return {"name": self.name, "value": self.value, "interval": self.interval and list(self.interval)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> MeasureScore:
        """Read a stored object."""
        interval = stored["interval"]
        return cls(name=stored["name"], value=stored["value"], interval=interval and (interval[0], interval[1]))


@dataclass(frozen=True, kw_only=True)
class SelectiveResult:
    """The answers of a classifier that gives none below a threshold of confidence."""

    precision: float
    """The precision for which the threshold was chosen on validation images."""
    confidence: float
    """The least probability of the predicted class."""
    images: int
    answered: int
    """Number of images that are answered."""
    right: int
    """Number of correct answers."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of a classifier on a set of labelled images."""

    accuracy: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)
    """95 % Wilson score interval of the accuracy."""
    macro_f1: float = 0.0
    """Mean of the classes' F1 scores."""
    images: int = 0
    per_class: tuple[ClassScores, ...] = ()
    """Scores of each class, in the order of the labels."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Number of images by true class (rows) and predicted class (columns); empty with more than `DENSE_CLASSES`."""
    cells: tuple[tuple[int, int, int], ...] = ()
    """True class, predicted class and number of images, where it is not 0, with more than `DENSE_CLASSES` classes."""

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the recalls of the classes that have images."""
        recalls = [entry.recall for entry in self.per_class if entry.support]
        return sum(recalls) / len(recalls)

    def most_mistaken_for(self, label: int) -> tuple[str, int] | None:
        """The wrong class most often predicted for images of class `label`, and how often; None if there is none."""
        wrong = [
            (count, -answer) for truth, answer, count in self.confusion_cells() if truth == label and answer != label
        ]
        if not wrong:
            return None
        count, answer = max(wrong)
        return self.per_class[-answer].name, count

    def confusion_cells(self) -> Iterable[tuple[int, int, int]]:
        """True class, predicted class and number of images, wherever that is not 0."""
        if self.cells:
            return self.cells
        return (
            (truth, answer, count)
            for truth, row in enumerate(self.confusion)
            for answer, count in enumerate(row)
            if count
        )

    def most_confused(self, count: int) -> list[int]:
        """Up to `count` classes that take part in the most mistakes, in the order of their labels."""
        mistakes: Counter[int] = Counter({label: 0 for label in range(len(self.per_class))})
        for truth, answer, images in self.confusion_cells():
            if truth != answer:
                mistakes.update({truth: images, answer: images})
        return sorted(label for label, _ in mistakes.most_common(count))

    def confusion_of(self, labels: Sequence[int]) -> list[list[int]]:
        """The rows and columns of the confusion matrix for these classes."""
        place = {label: index for index, label in enumerate(labels)}
        counts = [[0] * len(labels) for _ in labels]
        for truth, answer, images in self.confusion_cells():
            if truth in place and answer in place:
                counts[place[truth]][place[answer]] = images
        return counts


@dataclass(frozen=True, kw_only=True)
class LookResult(Scores):
    """The result of one look at the sealed test set."""

    look: int = 0
    """Number of the look among those of its study, from 1."""
    looks_by_others: tuple[str, ...] = ()
    """Names of earlier looks by other studies at the same images."""
    classes: tuple[str, ...] = ()
    """Class names in the order of their labels."""
    model_uri: str = ""
    """Address in MLflow of the version that was measured."""
    fingerprint: str = ""
    """Hash of the test images."""
    note: str = ""
    """Remark for people on where the test images come from."""
    measures: tuple[MeasureScore, ...] = ()
    """Measures beyond accuracy; empty in results of versions that did not have them."""
    selective: tuple[SelectiveResult, ...] = ()
    """The answers at each of the champion's thresholds of confidence."""

    def to_json(self) -> dict[str, Any]:
        """The object that the database row and `search.evaluate --json` hold."""
        return {
            "look": self.look,
            "looks_by_others": list(self.looks_by_others),
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "macro_f1": self.macro_f1,
            "images": self.images,
            "per_class": [entry.to_json() for entry in self.per_class],
            "confusion": [list(row) for row in self.confusion],
            "cells": [list(cell) for cell in self.cells],
            "classes": list(self.classes),
            "model_uri": self.model_uri,
            "fingerprint": self.fingerprint,
            "note": self.note,
            "measures": [entry.to_json() for entry in self.measures],
            "selective": [asdict(entry) for entry in self.selective],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> LookResult:
        """Read a stored object; keys that an older version did not write get their defaults."""
        known = {key: stored[key] for key in cls.__dataclass_fields__ if key in stored}
        low, high = stored.get("interval", (0.0, 1.0))
        nested = {
            "interval": (low, high),
            "per_class": tuple(ClassScores.from_json(entry) for entry in stored.get("per_class", ())),
            "measures": tuple(MeasureScore.from_json(entry) for entry in stored.get("measures", ())),
            "selective": tuple(SelectiveResult(**entry) for entry in stored.get("selective", ())),
            "confusion": tuple(tuple(row) for row in stored.get("confusion", ())),
            "cells": tuple((truth, answer, count) for truth, answer, count in stored.get("cells", ())),
        }
        tuples = {key: tuple(stored.get(key, ())) for key in ("looks_by_others", "classes")}
        return cls(**{**known, **nested, **tuples})
