"""Stored objects: what a row holds, and rows that an older version wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data.spec import DataSpec
from search.store.champion_record import ChampionRecord, FinalistRecord
from search.store.look_result import ClassScores, LookResult, Scores
from search.store.records import create_study, read_study, update_study
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition

DATA = StudyData(
    spec=DataSpec(source="digits", folds=3),
    fingerprint="f",
    sealed_fingerprint="e",
    split_hash="a",
    classes=("ant", "bee"),
    channels=1,
    train=8,
    val=2,
    label_distribution={"train": {"ant": 4, "bee": 4}, "val": {"ant": 1, "bee": 1}},
    notes=("2 classes",),
)
FINALIST = FinalistRecord(finalist=1, mean=0.5, interval=(0.4, 0.6), values=(0.4, 0.6), config={"epochs": 2})
CHAMPION = ChampionRecord(
    trial=4, finalist=1, config={"epochs": 2}, value=0.5, value_interval=(0.4, 0.6), values=(0.4, 0.6),
    val_accuracy=0.5, val_accuracy_interval=(0.4, 0.6), val_accuracy_seeds=(0.4, 0.6), seeds=(7, 8), ties=(0,),
    finalists=(FINALIST,), refit_images=10, searched={"epochs": 2}, model_uri="models:/mine/1",
)  # fmt: skip
LOOK = LookResult(
    accuracy=0.75, interval=(0.6, 0.9), macro_f1=0.7, images=4, look=2, looks_by_others=("look 1 by other",),
    per_class=(
        ClassScores(name="ant", precision=1.0, recall=0.5, f1=0.67, support=2),
        ClassScores(name="bee", precision=0.67, recall=1.0, f1=0.8, support=2),
    ),
    confusion=((1, 1), (0, 2)), classes=("ant", "bee"), model_uri="models:/mine/1", fingerprint="e", note="4 images",
)  # fmt: skip


@pytest.mark.parametrize("record", [DATA, CHAMPION, LOOK], ids=lambda record: type(record).__name__)
def test_a_record_survives_its_way_through_json(record: Any) -> None:
    assert type(record).from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_study_row_gives_back_its_data_and_champion(sqlite: Storage) -> None:
    create_study(sqlite, "mine", definition=StudyDefinition(), data=DATA)
    update_study(sqlite, "mine", champion=CHAMPION.to_json())
    record = read_study(sqlite, "mine")
    assert record is not None and (record.data, record.champion) == (DATA, CHAMPION)


def test_rows_that_lack_keys_are_read_with_defaults() -> None:
    data = StudyData.from_json({"spec": {"source": "digits"}, "fingerprint": "f"})
    assert (data.spec.source, data.spec.folds, data.classes, data.notes) == ("digits", 0, (), ())
    champion = ChampionRecord.from_json({"model_uri": "models:/mine/1", "ties": [1]})
    assert (champion.ties, champion.val_accuracy_interval, champion.refit_images) == ((1,), None, None)
    assert LookResult.from_json({"look": 1, "accuracy": 0.5}).looks_by_others == ()


def test_only_a_champion_that_was_trained_again_stores_its_number_of_images() -> None:
    assert CHAMPION.to_json()["refit_images"] == 10
    assert "refit_images" not in ChampionRecord(model_uri="models:/mine/1").to_json()


def test_the_most_frequent_mistake_of_a_class_is_named() -> None:
    assert LOOK.most_mistaken_for(0) == ("bee", 1)
    assert LOOK.most_mistaken_for(1) is None


def test_balanced_accuracy_leaves_out_classes_without_images() -> None:
    absent = ClassScores(name="cat", precision=0.0, recall=0.0, f1=0.0, support=0)
    assert Scores(per_class=(*LOOK.per_class, absent)).balanced_accuracy == pytest.approx(0.75)
