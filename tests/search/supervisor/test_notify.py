"""Notifications of a study's end, to a real server on this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from data.errors import SieveError, UserError
from search.store.champion_record import ChampionRecord
from search.store.look_result import LookResult
from search.store.study_data import StudyData
from search.supervisor.notify import Ending, check_address, notify_bad_end, notify_result, send, where
from search.supervisor.wait_for_stage import Interrupted
from search.timing import Timing
from search.verdict.result import StudyResult

SECRET = "T0K3N"
RESULT = StudyResult(
    study="partA",
    stages=(),
    warm_start=None,
    champion=ChampionRecord(model_uri="models:/partA/1", val_accuracy=0.8125, val_accuracy_seeds=(0.81, 0.815)),
    ablation=None,
    test=None,
    data=StudyData(),
    wall_s=7500.0,
)


class Server:
    """ValidationPredictions every POST with a status, after a while, and keeps what it was sent."""

    def __init__(self, status: int = 200, delay_s: float = 0.0) -> None:
        self.posts: list[tuple[str, Any]] = []
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.append((self.path, json.loads(body)))
                time.sleep(delay_s)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/{SECRET}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Server] = []

    def start(**options: Any) -> Server:
        started.append(Server(**options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@contextmanager
def failing(url: str, error: BaseException) -> Iterator[None]:
    with pytest.raises(type(error)), notify_bad_end(url, "partA"):
        raise error
    yield


def test_a_finished_study_is_reported_as_one_json_object(serve: Serve) -> None:
    server = serve()
    notify_result(server.url, RESULT)
    ((path, sent),) = server.posts
    text = sent.pop("text")
    assert path == f"/hook/{SECRET}"
    assert sent == {
        "study": "partA", "outcome": "done", "champion": "models:/partA/1", "val": 0.8125, "test": "sealed",
        "wall_s": 7500.0,
    }  # fmt: skip
    assert "partA is done after 2 h 05 min: validation 0.8125" in text and "test sealed" in text


def test_a_look_at_the_test_set_is_reported_with_its_accuracy(serve: Serve) -> None:
    server = serve()
    notify_result(server.url, replace(RESULT, test=LookResult(accuracy=0.8)))
    assert server.posts[0][1]["test"] == 0.8


@pytest.mark.parametrize(
    ("error", "outcome", "said"),
    [
        (Interrupted(), "stopped", "the same command resumes it"),
        (SieveError("the first 5 trials all failed"), "failed", "the first 5 trials all failed"),
        (ZeroDivisionError("secret in a bug"), "failed", "ZeroDivisionError"),
    ],
)
def test_a_study_that_does_not_finish_is_reported_and_its_error_is_raised_again(
    error: BaseException, outcome: str, said: str, serve: Serve
) -> None:
    server = serve()
    with failing(server.url, error):
        sent = server.posts[0][1]
    assert (sent["outcome"], sent["champion"], sent["val"], sent["test"]) == (outcome, None, None, "sealed")
    assert said in sent["text"] and "secret" not in sent["text"]


def test_an_error_of_the_server_is_one_line_without_the_secret(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = serve()
    closed.close()
    for server, said in ((serve(status=500), "answered 500"), (serve(status=302), "answered 302"), (closed, "Error")):
        notify_result(server.url, RESULT)
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line and "no notification was sent: partA is done" in line
        assert SECRET not in line and "http://127.0.0.1/..." in line


def test_the_command_does_not_wait_for_a_slow_server(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    ending = Ending(
        study="partA", outcome="failed", champion=None, val=None, test="sealed", wall_s=1.0, text="it failed"
    )
    server = serve(delay_s=3.0)
    before = time.monotonic()
    send(server.url, ending, Timing(notify_s=0.2))
    assert time.monotonic() - before < 2.5
    assert "no answer within 0.2 s" in capsys.readouterr().err


def test_without_an_address_nothing_is_sent() -> None:
    notify_result(None, RESULT)


@pytest.mark.parametrize("url", ["hooks.example.com", "http:///path", "", "https://"])
def test_an_address_that_cannot_be_used_is_refused_before_the_search(url: str) -> None:
    with pytest.raises(UserError, match="--notify"):
        check_address(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pass@hooks.slack.com/services/T0/B0/XX?key=1", "https://hooks.slack.com/..."),
        ("slack://TokenA/TokenB/TokenC", "slack://..."),
    ],
)
def test_only_the_kind_and_the_host_of_an_address_are_shown(url: str, shown: str) -> None:
    assert where(url) == shown


def test_every_other_address_is_one_of_apprise(serve: Serve) -> None:
    pytest.importorskip("apprise")
    server = serve()
    address = server.url.replace("http://", "json://")
    check_address(address)
    notify_result(address, RESULT)
    ((_, sent),) = server.posts
    assert sent["title"] == "Sieve: partA is done" and "validation 0.8125" in sent["message"]
    with pytest.raises(UserError, match="nosuch"):
        check_address("nosuch://place")
