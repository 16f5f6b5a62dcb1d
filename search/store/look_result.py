"""Scores of a classifier, and the result of a look at the sealed test set as its database row keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
    """Number of images by true class (rows) and predicted class (columns)."""

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the recalls of the classes that have images."""
        recalls = [entry.recall for entry in self.per_class if entry.support]
        return sum(recalls) / len(recalls)

    def most_mistaken_for(self, label: int) -> tuple[str, int] | None:
        """The wrong class that images of class `label` are most often given, and how often; None if there is none."""
        wrong = [0 if other == label else count for other, count in enumerate(self.confusion[label])]
        worst = max(range(len(wrong)), key=wrong.__getitem__)
        return (self.per_class[worst].name, wrong[worst]) if wrong[worst] else None


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
            "classes": list(self.classes),
            "model_uri": self.model_uri,
            "fingerprint": self.fingerprint,
            "note": self.note,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> LookResult:
        """Read a stored object; keys that an older version did not write get their defaults."""
        known = {key: stored[key] for key in cls.__dataclass_fields__ if key in stored}
        low, high = stored.get("interval", (0.0, 1.0))
        nested = {
            "interval": (low, high),
            "per_class": tuple(ClassScores.from_json(entry) for entry in stored.get("per_class", ())),
            "confusion": tuple(tuple(row) for row in stored.get("confusion", ())),
        }
        tuples = {key: tuple(stored.get(key, ())) for key in ("looks_by_others", "classes")}
        return cls(**{**known, **nested, **tuples})
