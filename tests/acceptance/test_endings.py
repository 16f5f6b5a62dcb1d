"""What a search leaves behind when it ends: its report, and word to whoever was named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Search
from tests.acceptance.forks import run_on
from tests.acceptance.service import STUDY_FILES, Service
from tests.search.supervisor.test_notify import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


def test_a_search_ends_with_its_report_and_the_command_that_gave_it(finished: Search) -> None:
    assert finished.result["report"], finished.err
    page = Path(finished.result["report"]).read_text("utf-8")
    assert page.count('<figure class="pictures"') >= 5, "the seal was opened, so there are pictures"
    assert "tiny.py --workers 1" in page


def test_a_search_that_is_done_notifies(finished: Search, server: Server) -> None:
    arguments = ("--study", str(STUDY_FILES / "tiny.py"), "--json", "--notify", server.url)
    ended = run_on(finished.service, "search.run", *arguments)
    ((_, told),) = server.posts
    assert ended.json()["champion"]["model_uri"] == told["champion"]
    assert (told["outcome"], told["test"]) == ("done", finished.result["test"]["accuracy"])


def test_a_search_that_fails_notifies_and_keeps_its_exit_code(service: Service, server: Server) -> None:
    arguments = ("--study", str(STUDY_FILES / "tiny.py"), "--workers", "1", "--notify", server.url)
    ended = service.start("search.run", *arguments, fault="broken_network").wait()
    ((_, told),) = server.posts
    assert ended.code == 1
    assert told["outcome"] == "failed" and "the network is broken" in told["text"]
