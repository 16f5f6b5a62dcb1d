"""A study whose test set was opened by a look that crashed: it has no test accuracy, and is not sealed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search.report.compared import champions_table
from search.report.facts import StudyFacts
from search.report.handin.document import write_document
from search.report.page import gather, render
from tests.search.report.conftest import MadeStudy


@pytest.fixture
def crashed(made: MadeStudy) -> StudyFacts:
    facts = made.facts()
    return replace(facts, looks=tuple(replace(look, result=None) for look in facts.looks))


def test_the_page_shows_the_look_and_the_command_for_another(crashed: StudyFacts) -> None:
    page = render(crashed, [], rank=lambda trials: [], open_seal="sieve evaluate --study made --home 'a b'")
    assert "opened, no result" in page.parts["figures"] and "with --again REASON" in page.parts["figures"]
    assert "sieve evaluate --study made --home &#39;a b&#39; --again REASON" in page.parts["test"]
    for part in ("figures", "outcome", "test"):
        assert "sealed" not in page.parts[part] and "no test image" not in page.parts[part]


def test_the_hand_in_shows_the_look(crashed: StudyFacts) -> None:
    text = write_document(crashed, gather(crashed, rank=lambda trials: []), []).text()
    assert "The test set was opened, but no look has a result." in text and "me@here" in text
    assert "sealed" not in text


def test_a_comparison_tells_it_from_a_sealed_test_set(crashed: StudyFacts) -> None:
    rows = champions_table([crashed, replace(crashed, looks=())]).rows
    assert [row[4].text for row in rows] == ["opened, no result", "sealed"]
