from __future__ import annotations

import pytest

from data.errors import UserError
from models.metric_names import bind_metric, check_metric, metric_label

CLASSES = ("ants", "bees", "a:b")


@pytest.mark.parametrize(
    ("name", "label", "argument"),
    [
        ("val_accuracy", "accuracy", 0),
        ("val_auroc", "AUROC", 0),
        ("val_top_k:2", "top-2 accuracy", 2),
        ("val_recall:bees", "recall of bees", 1),
        ("val_f1:a:b", "F1 of a:b", 2),
    ],
)
def test_a_metric_is_bound_to_its_class_or_k(name: str, label: str, argument: int) -> None:
    assert bind_metric(name, CLASSES).argument == argument
    assert metric_label(name) == label


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("accuracy", "unknown metric 'accuracy'. Did you mean 'val_accuracy'"),
        ("val_accuracy:bees", "unknown metric"),
        ("val_recall", "name a class"),
        ("val_recall:bee", "no class 'bee'. Did you mean 'bees'"),
        ("val_top_k:1", "2 or more"),
        ("val_top_k:3", "with 3 classes every prediction counts as correct"),
    ],
)
def test_a_metric_that_cannot_be_measured_is_named_with_a_remedy(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        bind_metric(name, CLASSES)


def test_a_class_without_validation_images_cannot_be_the_metric() -> None:
    check_metric("val_recall:bees", ("ants", "bees"), {"ants": 0, "bees": 3})
    with pytest.raises(UserError, match="'ants' has no validation image"):
        check_metric("val_recall:ants", ("ants", "bees"), {"ants": 0, "bees": 3})
