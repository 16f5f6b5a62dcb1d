"""The images of a run: workers do not wait for the comparison, and its findings reach the study's record."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.stage.describe import describe_data, describe_study
from search.store.find import find_study
from search.store.records import create_study
from search.store.storage import Storage, open_storage
from search.supervisor.prepare import Request
from search.supervisor.run_images import ImageComparison, open_data
from tests.data.test_near_duplicates import bursts
from tests.search.supervisor.test_prepare import request as checked_request


@pytest.fixture
def request_and_storage(tmp_path: Path) -> Iterator[tuple[Request, Storage]]:
    bursts(tmp_path / "set", {"a": 12, "b": 12}, 5)
    line = f"--study quickstart --data {tmp_path / 'set'} --image-size 32"
    request = checked_request(tmp_path / "home", line)
    images = open_data(request)
    assert not images.is_compared and not _warnings(images.notes)
    storage = open_storage(request.settings.storage_url, create=True)
    data = describe_data(request.spec, images)
    create_study(storage, request.study.name, definition=describe_study(request.study), data=data)
    yield request, storage
    storage.close()


def _warnings(notes: tuple[str, ...]) -> list[str]:
    return [note for note in notes if "nearly the same as a training image" in note]


def test_near_duplicates_that_are_found_later_are_printed_and_recorded(
    request_and_storage: tuple[Request, Storage],
) -> None:
    request, storage = request_and_storage
    printed: list[str] = []

    comparison = ImageComparison(storage, request)
    comparison.finish(printed.append)
    comparison.publish(printed.append)

    record = find_study(storage, request.study.name)
    assert ["validation" in line for line in _warnings(tuple(printed))] == [True, False]
    assert _warnings(record.data.notes) == _warnings(tuple(printed))
    assert len(set(printed)) == len(printed) < len(record.data.notes)
    again = open_data(request)
    assert again.is_compared and describe_data(request.spec, again).notes == record.data.notes


def test_a_comparison_that_fails_is_noted_and_does_not_end_the_search(
    request_and_storage: tuple[Request, Storage], tmp_path: Path
) -> None:
    request, storage = request_and_storage
    shutil.rmtree(tmp_path / "set")
    printed: list[str] = []

    ImageComparison(storage, request).finish(printed.append)

    assert [line.startswith("near-duplicates were not searched for: ") for line in printed] == [True]
    assert find_study(storage, request.study.name).data.notes[-1] == printed[0]
