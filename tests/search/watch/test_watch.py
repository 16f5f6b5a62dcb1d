"""The live page of a study that goes on: what the server answers, and what a reader's browser shows."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import optuna
import psutil
import pytest
import requests

from data.files import write_json
from search import names, watch
from search.report.facts import read_facts
from search.report.figures.outcome import labels
from search.report.image_problems import CHECK_FOLDER, SUMMARY_FILE
from search.report.importance import Importance, rank_parameters
from search.report.make import make_report
from search.settings import Settings
from search.stage.describe import describe_study
from search.stage.pinning import pin_search
from search.store.pinned_stage import PinnedStage
from search.store.records import create_study, update_study
from search.store.storage import Storage, open_storage
from search.watch import live_study, seldom
from search.watch.events import study_events
from search.watch.live_study import LiveStudy
from search.watch.seldom import DrawSeldom, RankSeldom
from tests.acceptance.forks import Forked, run_forked
from tests.acceptance.service import wait_for
from tests.search.report.browser import Browser
from tests.search.report.conftest import CHECK_SUMMARY, DATA, STUDY, begin_stage, run_trial, settings_at

TRIALS_BEFORE = 20
UPDATE_S = 2.0
"""Seconds within which a reader sees the progress of a search."""
ESTIMATE_S = 6.0
"""Seconds within which a process that starts has made an estimate."""
SLOW = 5
"""Factor for a machine that several test processes share."""


@dataclass(frozen=True, kw_only=True)
class Going:
    """A study in the middle of its first stage, and the server that shows it."""

    settings: Settings
    storage: Storage
    study: optuna.Study
    pinned: PinnedStage
    url: str = ""

    def go_on(self, trials: int = 1) -> None:
        for _ in range(trials):
            run_trial(self.storage, self.study, self.pinned)


@pytest.fixture
def going(tmp_path: Path) -> Iterator[Going]:
    settings = settings_at(tmp_path)
    storage = open_storage(settings.storage_url, create=True)
    create_study(storage, STUDY.name, definition=describe_study(STUDY), data=DATA)
    pinned = pin_search(STUDY, 0, STUDY.stages[0], [STUDY.config])
    _, study = begin_stage(storage, 0, pinned)
    made = Going(settings=settings, storage=storage, study=study, pinned=pinned)
    made.go_on(TRIALS_BEFORE)
    yield made
    storage.close()


@pytest.fixture
def served(going: Going, tmp_path: Path) -> Iterator[Going]:
    server = Forked("search.watch", ["--home", str(going.settings.home), "--port", "0", "--json"], tmp_path / "server")
    printed = tmp_path / "server" / "stdout"
    try:
        wait_for(lambda: printed.exists() and printed.read_text().endswith("\n"), "the server's URL")
        yield replace(going, url=json.loads(printed.read_text())["url"])
        started = psutil.Process(server.pid).children(recursive=True)
        os.kill(server.pid, signal.SIGINT)
        server.process.join(30)
        assert server.process.exitcode == 0
        _, left = psutil.wait_procs(started, timeout=10)
        assert not left  # The process that makes estimates ends too.
    finally:
        server.kill()


def events(url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a stream, as `(kind, data)`."""
    with requests.get(url, stream=True, timeout=60) as answer:
        kind = ""
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


def complete_trials(going: Going) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in going.study.trials if trial.state == optuna.trial.TrialState.COMPLETE]


def waiting_estimates(monkeypatch: pytest.MonkeyPatch) -> list[Future[list[Importance]]]:
    """The estimates that are asked for from now on, none of which is made."""
    asked: list[Future[list[Importance]]] = []

    def start(*_: object) -> Future[list[Importance]]:
        asked.append(Future())
        return asked[-1]

    monkeypatch.setattr(RankSeldom, "start", start)
    return asked


def test_the_pages_are_read_only_and_for_this_machine_only(served: Going) -> None:
    first = requests.get(served.url, timeout=60)
    assert first.ok and 'href="/studies/made"' in first.text and "20 of 36" in first.text
    page = f"{served.url}studies/made"
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert requests.request(method, page, timeout=60).status_code == 405
    assert requests.get(page, headers={"Host": "rebound.example"}, timeout=60).status_code == 400
    missing = requests.get(f"{served.url}studies/maed", timeout=60)
    assert missing.status_code == 404 and "did you mean 'made'?" in missing.text
    assert requests.get(f"{served.url}server.py", timeout=60).status_code == 404


def test_a_comparison_of_fewer_than_two_studies_leads_back_to_the_list_with_an_alert(served: Going) -> None:
    for chosen in ("", "?study=made", "?study=made&study=made"):
        answer = requests.get(f"{served.url}compare{chosen}", timeout=60)
        assert answer.status_code == 400 and 'href="/studies/made"' in answer.text
        assert '<p role="alert">Select at least two studies to compare them.</p>' in answer.text
    assert 'role="alert"' not in requests.get(served.url, timeout=60).text


def test_a_reader_gets_the_progress_within_two_seconds_and_then_only_what_changed(served: Going) -> None:
    html = requests.get(f"{served.url}studies/made", timeout=60).text
    version = html.split('data-version="')[1].split('"')[0]
    stream = events(f"{served.url}studies/made/events?version={version}")
    kind, content = next(stream)
    assert kind == "status" and "20 of 36" in str(content["html"])
    served.go_on()
    changed_at = time.monotonic()
    kind, content = next(stream)
    assert kind == "status" and "21 of 36" in str(content["html"])
    assert time.monotonic() - changed_at < SLOW * UPDATE_S
    kind, content = next(stream)
    assert kind == "change"
    assert "stage-1" in content["parts"] and "reproduce" not in content["parts"]
    assert "reproduce" in content["order"]
    drawn = [json.loads(text)["id"] for text in content["figures"]]
    assert "stage-1-accuracy-against-creation-order" in drawn and "outcome-label-distribution" not in drawn


def test_the_finished_page_is_the_file_itself(served: Going) -> None:
    update_study(served.storage, STUDY.name, state="done")
    page = f"{served.url}studies/made"
    assert "/live.js" in requests.get(page, timeout=60).text  # No report is written yet.
    path = make_report(served.settings, STUDY.name)
    assert requests.get(page, timeout=60).content == path.read_bytes()
    served.go_on()  # The file does not show this trial.
    assert "/live.js" in requests.get(page, timeout=60).text


def test_a_finished_page_shows_what_a_check_of_the_images_has_found_since(
    going: Going, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RankSeldom, "start", lambda *_: Future())
    monkeypatch.setattr(live_study, "PAUSE_SHARE", 0.0)
    update_study(going.storage, STUDY.name, state="done")
    live, path = LiveStudy(going.settings, going.storage, STUDY.name), make_report(going.settings, STUDY.name)
    assert live.finished_report() == path
    summary = names.study_folder(going.settings.home, STUDY.name) / CHECK_FOLDER / SUMMARY_FILE
    for images, later_s in ((5, 1), (7, 2)):
        write_json(summary, {**CHECK_SUMMARY, "near_duplicates": {"clusters": 2, "images": images}})
        os.utime(summary, (path.stat().st_mtime + later_s,) * 2)
        assert live.finished_report() is None
        assert f"{images} images in 2 clusters of near-duplicates" in live.html()[0]
    os.utime(make_report(going.settings, STUDY.name), (summary.stat().st_mtime,) * 2)
    assert live.finished_report() == path


def test_a_port_that_is_in_use_is_one_line(served: Going, tmp_path: Path) -> None:
    port = served.url.rstrip("/").rpartition(":")[2]
    done = run_forked("search.watch", ["--home", str(served.settings.home), "--port", port], tmp_path / "second")
    assert done.code == 2 and f"port {port} on 127.0.0.1 is in use" in done.err


def test_a_version_of_another_process_gets_everything(going: Going, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RankSeldom, "start", lambda *_: Future())
    live = LiveStudy(going.settings, going.storage, STUDY.name)
    assert live.change_since("") is None  # Nothing is rendered yet.
    _, version = live.html()
    assert live.change_since(version) is None
    change = live.change_since("other-0")
    assert change is not None and list(change["parts"]) == change["order"]


def test_importance_is_estimated_anew_only_when_a_stage_has_a_fifth_more_trials(
    going: Going, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = waiting_estimates(monkeypatch)
    estimated = [Importance(parameter="dropout", share=1.0, interval=None, correlations=())]
    rank = RankSeldom()
    trials = complete_trials(going)
    assert rank(trials[:3]) == [] and not working  # Too few.
    assert rank(trials[:10]) is None and rank(trials[:12]) is None and not rank.has_news
    working[-1].set_result(estimated)
    assert rank.has_news
    assert rank(trials[:11]) == estimated and len(working) == 1
    assert rank(trials[:12]) == estimated and len(working) == 2


def test_an_estimate_is_made_by_another_process_and_by_a_new_one_after_that_was_killed(going: Going) -> None:
    rank, trials = RankSeldom(), complete_trials(going)
    try:
        assert rank(trials) is None
        assert seldom._executor is not None
        for process in list(seldom._executor._processes.values()):
            process.kill()
        wait_for(lambda: rank.has_news, "the end of the killed estimate")
        rank.has_news = False
        assert rank(trials) is None  # Still being estimated.
        started = time.monotonic()
        wait_for(lambda: rank.has_news, "an estimate")
        assert time.monotonic() - started < SLOW * ESTIMATE_S
        assert rank(trials) == rank_parameters(trials)
    finally:
        seldom.end_estimates()
    wait_for(lambda: not multiprocessing.active_children(), "the end of its process")


def test_a_failed_estimate_is_printed_once_and_followed_by_another_with_more_trials(
    going: Going, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    working = waiting_estimates(monkeypatch)
    rank, trials = RankSeldom(), complete_trials(going)
    for count in (10, 12):
        assert rank(trials[:count]) is None
        working[-1].set_exception(ValueError("no forest\nno tree"))
        assert rank(trials[:count]) is None and rank.has_news
    assert len(working) == 2
    expected = "the importance of parameters is not estimated: ValueError: no forest\n"
    assert capsys.readouterr().err == expected


def test_an_estimate_whose_process_is_always_killed_is_given_up(
    going: Going, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    working = waiting_estimates(monkeypatch)
    rank, trials = RankSeldom(), complete_trials(going)
    for tries in range(1, seldom.MOST_KILLED + 3):
        assert rank(trials) is None
        assert len(working) == min(tries, seldom.MOST_KILLED + 1)
        if not working[-1].done():
            working[-1].set_exception(BrokenProcessPool("killed"))
    assert capsys.readouterr().err.count("\n") == 1


def test_a_figure_is_drawn_again_if_its_inputs_changed_and_the_pause_after_its_cost_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw, plots, now_s = DrawSeldom(), [labels(DATA, None) for _ in range(3)], [100.0]
    monkeypatch.setattr("search.watch.seldom.time.monotonic", lambda: now_s[0])
    monkeypatch.setattr("search.watch.seldom.time.thread_time", iter((0.0, 0.01, 1.0, 1.5)).__next__)
    assert draw("a", 1, lambda: [plots[0], None]) == (plots[0],)
    assert draw("a", 1, lambda: [plots[1]]) == (plots[0],)
    assert draw("a", 2, lambda: [plots[1]]) == (plots[0],) and not draw.is_due
    now_s[0] += 0.01 / seldom.SHARE
    assert draw.is_due
    assert draw("a", 2, lambda: [plots[2]]) == (plots[2],) and not draw.is_due


def test_a_stage_that_has_not_changed_is_not_read_again(going: Going) -> None:
    pinned = pin_search(STUDY, 1, STUDY.stages[1], [STUDY.config])
    begin_stage(going.storage, 1, pinned)
    before = read_facts(going.storage, STUDY.name)
    run_trial(going.storage, going.study, going.pinned)
    after = read_facts(going.storage, STUDY.name, before)
    assert after.stages[0] is not before.stages[0] and after.stages[1] is before.stages[1]
    assert len(after.stages[0].complete) + len(after.stages[0].epochs) > (
        len(before.stages[0].complete) + len(before.stages[0].epochs)
    )


@dataclass
class SlowStudy:
    """A study whose report takes a tenth of a second to render."""

    version: int = 0

    def status(self) -> str:
        return ""

    def finished_report(self) -> None:
        return None

    def refresh(self) -> None:
        time.sleep(0.1)
        self.version = 1

    def change_since(self, version: str) -> dict[str, Any] | None:
        return {"version": self.version} if str(self.version) != version else None


def test_a_page_that_is_rendered_between_two_checks_is_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.watch.events.POLL_S", 20.0)

    async def first_change() -> str:
        events = study_events(cast(LiveStudy, SlowStudy()), "0", lambda: False)
        return await anext(events)

    started = time.monotonic()
    assert asyncio.run(first_change()).startswith("event: change")
    assert time.monotonic() - started < 10


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("needs chromium")
    with Browser(executable, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<figure id=a></figure><p>1</p><p>2</p>", "<p>one</p><p>two</p>"),
        ("<p>1</p><ul></ul><p>2</p>", "<h3>new</h3><p>one</p><ul></ul><p>two</p>"),
        ("<p>1</p><figure id=a></figure><p>2</p>", "<figure id=a></figure><p>one</p><p>two</p><p>three</p>"),
    ],
)
def test_morphing_leads_to_the_new_content_and_keeps_its_nodes(browser: Browser, before: str, after: str) -> None:
    browser("Page.navigate", url="about:blank")
    browser.wait_for("location.href === 'about:blank' && document.body !== null")
    browser.evaluate(f"{(Path(watch.__file__).parent / 'morph.js').read_text()}; 0")
    browser.evaluate(f"document.body.innerHTML = {before!r}; window.old = [...document.querySelectorAll('p')]; 0")
    browser.evaluate(f"window.morph(document.body, {after!r}); 0")
    assert browser.evaluate("document.body.innerHTML") == after.replace("id=a", 'id="a"')
    assert browser.evaluate("old.every((node, at) => node === document.querySelectorAll('p')[at])")


def test_an_open_page_follows_the_search_and_keeps_what_the_reader_selected(served: Going, browser: Browser) -> None:
    browser.events.clear()
    browser.show(f"{served.url}studies/made", width=1280)
    place = "document.getElementById('stage-1-parallel-coordinates')"
    axis = "data[0].dimensions.find(axis => axis.label === 'learning_rate')"
    browser.evaluate(f"{place}.{axis}.constraintrange = [-3, -2]")
    figure = f"{place}.closest('figure')"
    browser.evaluate(f"scrollTo(0, 700); {figure}.querySelector('details').open = true")
    browser.evaluate(f"{figure}.querySelectorAll('[data-axis=dropout] input')[1].focus()")
    browser.press("PageDown", 5)
    upper_half = browser.evaluate("document.activeElement.getAttribute('aria-valuetext')")
    lines = f"{place}.data[0].line.color.length"
    before = browser.evaluate(lines)
    served.go_on(4)
    browser.wait_for("document.querySelector('.live progress').value === 24")
    browser.wait_for(f"{lines} > {before}")
    assert browser.evaluate(f"{place}.{axis}.constraintrange") == [-3, -2]
    assert browser.evaluate("scrollY") > 0
    assert browser.evaluate(f"{figure}.querySelector('details').open")
    assert browser.evaluate("document.activeElement.ariaLabel") == "dropout, to"
    assert browser.evaluate("document.activeElement.getAttribute('aria-valuetext')") == upper_half
    update_study(served.storage, STUDY.name, state="done")
    path = make_report(served.settings, STUDY.name)
    browser.wait_for("document.documentElement.dataset.finished === 'yes'")
    text = (
        "[...document.querySelectorAll('main [data-part] :is(p, td, li, figcaption):not(.axes *)')]"
        ".map(e => e.textContent).join()"
    )
    shown = browser.evaluate(text)
    ids = browser.evaluate("[...document.querySelectorAll('.plot')].map(plot => plot.id).join()")
    assert browser.evaluate("document.querySelector('.live').hidden")
    for event in browser.events:
        assert event["method"] != "Runtime.exceptionThrown", event
        if event["method"] == "Runtime.consoleAPICalled":
            assert event["params"]["type"] not in ("error", "assert"), event
    browser.show(path.as_uri(), width=1280)
    assert browser.evaluate(text) == shown
    assert browser.evaluate("[...document.querySelectorAll('.plot')].map(plot => plot.id).join()") == ids
