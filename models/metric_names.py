"""The names of the metrics that a study can optimise, measured on validation images.

A name may have an argument after a colon: `val_recall:bees`, `val_f1:bees`, `val_top_k:5`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.errors import UserError
from models.spelling import did_you_mean

AUROC, TOP_K = "val_auroc", "val_top_k"
_EVERY_EPOCH = ("val_accuracy", "val_macro_f1", "val_loss")
_PLAIN = (*_EVERY_EPOCH, "val_balanced_accuracy", AUROC)
_OF_ONE_CLASS = ("val_recall", "val_f1")
_KNOWN = (*_PLAIN, *(f"{kind}:CLASS" for kind in _OF_ONE_CLASS), f"{TOP_K}:K")


@dataclass(frozen=True)
class Measure:
    """A metric, bound to the classes of a data set."""

    name: str
    """The metric's whole name."""
    kind: str
    """The name without its argument."""
    argument: int = 0
    """The label of the class that it measures, or k; 0 for metrics without an argument."""

    @property
    def is_extra(self) -> bool:
        """Whether it has to be measured in addition to what every epoch measures."""
        return self.kind not in _EVERY_EPOCH


_LABELS = {
    "val_accuracy": "accuracy",
    "val_macro_f1": "macro-F1",
    "val_loss": "loss",
    "val_balanced_accuracy": "balanced accuracy",
    AUROC: "AUROC",
    TOP_K: "top-{} accuracy",
    "val_recall": "recall of {}",
    "val_f1": "F1 of {}",
}
VAL_ACCURACY = Measure("val_accuracy", "val_accuracy")
VAL_LOSS = Measure("val_loss", "val_loss")


def split_metric(name: str) -> tuple[str, str]:
    """The parts of a metric's name before and after its first colon. Raises UserError for an unknown name."""
    kind, colon, argument = name.partition(":")
    if kind in _PLAIN and not colon:
        return kind, ""
    if kind in _OF_ONE_CLASS and argument:
        return kind, argument
    if kind == TOP_K and argument.isascii() and argument.isdigit() and int(argument) > 1:
        return kind, argument
    if kind == TOP_K:
        raise UserError(f"metric {name!r}: give k as a number of 2 or more, e.g. 'val_top_k:5'")
    if kind in _OF_ONE_CLASS:
        raise UserError(f"metric {name!r}: name a class, e.g. '{kind}:bees'")
    raise UserError(f"unknown metric {name!r}.{did_you_mean(name, _KNOWN)}")


def check_metric(name: str, classes: Sequence[str], val_images: Mapping[str, int]) -> None:
    """Raise UserError if a metric names an unknown class, or one without validation images, or too large a k."""
    bind_metric(name, classes)
    kind, argument = split_metric(name)
    if kind in _OF_ONE_CLASS and not val_images[argument]:
        raise UserError(f"metric {name!r}: class {argument!r} has no validation image; add images, or choose another")


def metric_label(name: str) -> str:
    """A metric's name for people, without the images it is measured on: `recall of bees`, `top-5 accuracy`."""
    kind, argument = split_metric(name)
    return _LABELS[kind].format(argument)


def is_recordable(name: str) -> bool:
    """Whether a step that measures this metric can be recorded and replayed. AUROC needs every image's scores."""
    return split_metric(name)[0] != AUROC


def bind_metric(name: str, classes: Sequence[str]) -> Measure:
    """The metric for these classes, in the order of their labels. Raises UserError for an unknown metric or class."""
    kind, argument = split_metric(name)
    if kind == TOP_K:
        if int(argument) >= len(classes):
            raise UserError(
                f"metric {name!r}: with {len(classes)} classes every prediction counts as correct; give a smaller k"
            )
        return Measure(name, kind, int(argument))
    if kind in _OF_ONE_CLASS:
        if argument not in classes:
            raise UserError(f"metric {name!r}: no class {argument!r}.{did_you_mean(argument, classes)}")
        return Measure(name, kind, list(classes).index(argument))
    return Measure(name, kind)
