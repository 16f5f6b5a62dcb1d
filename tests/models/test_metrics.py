from __future__ import annotations

import dataclasses

import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    recall_score,
    roc_auc_score,
    top_k_accuracy_score,
)
from torch.nn import functional as F

from data.errors import UserError
from models.metric_names import bind_metric
from models.training.metrics import EpochMetrics, Tally, best_epoch

EPOCH = EpochMetrics(
    epoch=1,
    train_loss=1.0,
    train_accuracy=0.5,
    val_loss=1.0,
    val_accuracy=0.5,
    val_macro_f1=0.5,
    learning_rate=0.1,
    duration_s=1.0,
    images_per_s=1.0,
    memory_mib=1.0,
)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("absent", [False, True])
def test_the_figures_of_uneven_batches_agree_with_scikit_learn(classes: int, absent: bool) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(101, classes, generator=generator)
    labels = torch.randint(0, classes - 1 if absent else classes, (101,), generator=generator)
    if absent:
        logits[:, -1] = -100  # neither labelled nor predicted
    tally = Tally(classes, torch.device("cpu"))

    for batch_logits, batch_labels in zip(logits.split(30), labels.split(30), strict=True):
        tally.add(batch_logits, batch_labels, F.cross_entropy(batch_logits, batch_labels))

    scores, predictions = tally.read(), logits.argmax(dim=1)
    assert scores.images == 101
    assert scores.accuracy == pytest.approx(accuracy_score(labels, predictions))
    assert scores.macro_f1 == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert scores.loss == pytest.approx(F.cross_entropy(logits, labels).item())


@pytest.mark.parametrize("classes", [2, 5])
def test_every_measure_of_uneven_batches_agrees_with_scikit_learn(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(101, classes, generator=generator).round(decimals=1)  # So that some are equal.
    labels = torch.randint(0, classes, (101,), generator=generator)
    names = tuple("abcde"[:classes])
    predictions, probabilities = logits.argmax(dim=1), logits.double().softmax(dim=1)
    ranked = probabilities[:, 1] if classes == 2 else probabilities
    expected = {
        "val_balanced_accuracy": balanced_accuracy_score(labels, predictions),
        "val_auroc": roc_auc_score(labels, ranked, multi_class="ovr", average="macro"),
        "val_recall:b": recall_score(labels == 1, predictions == 1),
        "val_f1:b": f1_score(labels == 1, predictions == 1),
    }
    for name, value in expected.items():
        tally = Tally(classes, torch.device("cpu"), bind_metric(name, names))
        for batch_logits, batch_labels in zip(logits.split(30), labels.split(30), strict=True):
            tally.add(batch_logits, batch_labels, F.cross_entropy(batch_logits, batch_labels))
        assert tally.read().measured == pytest.approx(value), name


def test_top_k_accuracy_agrees_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(101, 6, generator=generator), torch.randint(0, 6, (101,), generator=generator)
    for k in (2, 3):
        tally = Tally(6, torch.device("cpu"), bind_metric(f"val_top_k:{k}", "abcdef"))
        tally.add(logits, labels, F.cross_entropy(logits, labels))
        assert tally.read().measured == pytest.approx(top_k_accuracy_score(labels, logits, k=k))


def test_a_class_without_images_has_recall_0_and_is_left_out_of_the_auroc() -> None:
    logits, labels = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([0, 1, 0])
    for name, value in {"val_recall:c": 0.0, "val_f1:c": 0.0, "val_auroc": 1.0, "val_balanced_accuracy": 1.0}.items():
        tally = Tally(3, torch.device("cpu"), bind_metric(name, "abc"))
        tally.add(logits, labels, F.cross_entropy(logits, labels))
        assert tally.read().measured == value, name


def test_a_tally_of_nothing_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="no images"):
        Tally(2, torch.device("cpu")).read()


def test_the_measured_fields_are_those_with_a_value_in_their_order() -> None:
    metrics = EpochMetrics(
        epoch=1, train_loss=1.0, train_accuracy=0.5, val_loss=0.0, val_accuracy=0.5, val_macro_f1=0.5,
        learning_rate=0.1, duration_s=1.0, images_per_s=10.0, memory_mib=0.0,
    )  # fmt: skip
    expected = [(name, value) for name, value in dataclasses.asdict(metrics).items() if value is not None]
    assert list(metrics.measured().items()) == expected
    assert "val_metric" not in metrics.measured()


def test_the_best_epoch_is_the_first_with_the_highest_accuracy_or_the_lowest_loss() -> None:
    history = [
        dataclasses.replace(EPOCH, epoch=epoch, val_accuracy=accuracy, val_loss=loss, val_macro_f1=1 - accuracy)
        for epoch, accuracy, loss in [(1, 0.3, 2.0), (2, 0.8, 1.5), (3, 0.8, 1.2), (4, 0.7, 1.2)]
    ]

    assert best_epoch(history, "val_accuracy") == 2
    assert best_epoch(history, "val_loss") == 3
    assert best_epoch(history, "val_macro_f1") == 1
    assert best_epoch([], "val_loss") == 0


def test_an_unknown_metric_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"^unknown metric 'val_acuracy'. Did you mean 'val_accuracy'\?$"):
        best_epoch([EPOCH], "val_acuracy")
