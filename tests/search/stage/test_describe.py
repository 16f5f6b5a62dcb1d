from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from data.errors import UserError
from models.values import with_values
from search.stage.describe import check_unchanged, describe_study
from search.store.records import StudyRecord
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from studies.definition import Study, choice
from studies.load import STUDIES

QUICKSTART = STUDIES["quickstart"]
DATA = StudyData(fingerprint="a", split_hash="b", notes=("old words",))


def record_of(study: Study) -> StudyRecord:
    stored = json.loads(json.dumps(describe_study(study).to_json()))
    definition = StudyDefinition.from_json(stored)
    return StudyRecord(
        name=study.name, definition=definition, data=DATA, state="running", created_at=0.0, deadline=None, champion=None
    )


@pytest.mark.parametrize("name", list(STUDIES))
def test_a_study_described_twice_is_unchanged(name: str) -> None:
    check_unchanged(record_of(STUDIES[name]), describe_study(STUDIES[name]), DATA)


def changed_stage(**changes: Any) -> Study:
    first, *others = QUICKSTART.stages
    return replace(QUICKSTART, stages=(replace(first, **changes), *others))


@pytest.mark.parametrize(
    ("study", "named"),
    [
        (changed_stage(trials=5), "stages.1-architecture.trials was 12, is 5"),
        (changed_stage(space={"filters": choice(16, 32)}), "stages.1-architecture.space.activation"),
        (
            changed_stage(space={**QUICKSTART.stages[0].space, "filters": choice(16, 99)}),  # type: ignore[dict-item]
            "stages.1-architecture.space.filters was one of (16, 32, 64), is one of (16, 99)",
        ),
        (changed_stage(early_end=True), "stages.1-architecture.early_end was False, is True"),
        (replace(QUICKSTART, seed=1), "study.seed was 0, is 1"),
        (
            replace(QUICKSTART, config=with_values(QUICKSTART.config, {"dropout": 0.3})),
            "config.dropout was 0.0, is 0.3",
        ),
    ],
)
def test_a_changed_definition_is_refused_with_the_change_and_the_remedy(study: Study, named: str) -> None:
    with pytest.raises(UserError, match="--name NEW") as error:
        check_unchanged(record_of(QUICKSTART), describe_study(study), DATA)
    assert named in str(error.value)


def test_a_field_that_was_added_since_the_study_began_is_a_change_only_if_it_is_not_its_default() -> None:
    record = record_of(QUICKSTART)
    known = {name: value for name, value in record.definition.config.items() if name != "dropout"}
    record = replace(record, definition=replace(record.definition, config=known))  # An earlier version's.
    check_unchanged(record, describe_study(QUICKSTART), DATA)
    other = replace(QUICKSTART, config=with_values(QUICKSTART.config, {"dropout": 0.3}))
    with pytest.raises(UserError, match="dropout was"):
        check_unchanged(record, describe_study(other), DATA)


def test_a_study_of_a_version_without_early_ends_goes_on() -> None:
    stored = describe_study(QUICKSTART).to_json()
    for stage in stored["stages"].values():
        del stage["early_end"]
    record = replace(record_of(QUICKSTART), definition=StudyDefinition.from_json(stored))
    check_unchanged(record, describe_study(QUICKSTART), DATA)


def test_changed_images_are_named() -> None:
    with pytest.raises(UserError, match=r"data\.fingerprint was a, is c"):
        check_unchanged(record_of(QUICKSTART), describe_study(QUICKSTART), replace(DATA, fingerprint="c"))


def test_another_description_does_not_change_a_study() -> None:
    study = replace(QUICKSTART, description="other words")
    check_unchanged(record_of(QUICKSTART), describe_study(study), replace(DATA, notes=("new words",)))
