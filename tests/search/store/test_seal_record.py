"""The record of looks at a test set, on every database that Sieve supports."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from data.errors import SealBroken
from search.store.look_result import LookResult
from search.store.records import create_study, read_study
from search.store.seal import close_look, describe_look, looks, looks_by_others, open_look, whoami
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition


def look(storage: Storage, study: str = "partA", reason: str | None = None) -> int:
    return open_look(storage, study, by="ann@lab", model_uri="models:/partA/1", reason=reason)


def test_the_first_look_needs_no_reason_and_is_number_1(storage):
    assert look(storage) == 1
    (seen,) = looks(storage, "partA")
    assert (seen.by, seen.model_uri, seen.reason, seen.result) == ("ann@lab", "models:/partA/1", "first look", None)


def test_a_refusal_names_the_time_user_and_result_of_the_earlier_look(storage):
    close_look(storage, "partA", look(storage), LookResult(accuracy=0.428))
    with pytest.raises(
        SealBroken, match=r"^partA: .*look 1 on \d{4}-\d\d-\d\d \d\d:\d\d UTC by ann@lab.*0\.4280.*--again"
    ):
        look(storage)
    assert len(looks(storage, "partA")) == 1


def test_a_look_that_crashed_counts_and_is_shown_without_a_result(storage):
    look(storage)
    with pytest.raises(SealBroken, match="no result: it crashed"):
        look(storage)


def test_an_empty_reason_is_no_reason(storage):
    look(storage)
    with pytest.raises(SealBroken):
        look(storage, reason="")


def test_every_look_stays_listed(storage):
    assert [look(storage), look(storage, reason="labels fixed"), look(storage, reason="new paper")] == [1, 2, 3]
    assert [seen.reason for seen in looks(storage, "partA")] == ["first look", "labels fixed", "new paper"]


def test_a_result_cannot_be_replaced(storage):
    number = look(storage)
    close_look(storage, "partA", number, LookResult(accuracy=0.4))
    close_look(storage, "partA", number, LookResult(accuracy=0.9))
    assert looks(storage, "partA")[0].result == LookResult(accuracy=0.4)


def test_each_study_has_its_own_seal(storage):
    look(storage)
    assert look(storage, study="partB") == 1


def test_of_eight_racing_evaluators_exactly_one_looks(storage):
    def attempt(_: int) -> str:
        try:
            return f"look {look(storage)}"
        except SealBroken:
            return "refused"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == ["look 1", *["refused"] * 7]


def test_racing_looks_with_reasons_get_different_numbers(storage):
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda index: look(storage, reason=f"reason {index}"), range(4)))
    assert sorted(numbers) == [1, 2, 3, 4]


def test_a_look_is_signed_with_user_and_host():
    user, host = whoami().split("@")
    assert user
    assert host


def test_looks_of_other_studies_at_the_same_images_are_listed(storage):
    for study, images in {"partA": "same", "again": "same", "other": "others", "new": "same"}.items():
        create_study(storage, study, definition=StudyDefinition(), data=StudyData(sealed_fingerprint=images))
    for study in ("again", "other", "partA"):
        look(storage, study)
    record = read_study(storage, "new")
    assert record is not None
    seen = [one.name for one in looks_by_others(storage, record)]
    assert seen == ["look 1 by again", "look 1 by partA"]
    assert describe_look(LookResult(look=1, looks_by_others=seen)) == (
        "look 1, after look 1 by again, look 1 by partA at the same images"
    )
    assert describe_look(LookResult(look=2)) == "look 2"
