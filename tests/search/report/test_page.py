from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from optuna_dashboard import get_note
from PIL import Image

from data.errors import UserError
from data.files import write_json
from search import names
from search.report import page
from search.report.__main__ import main
from search.report.embedded_pictures import MAX_BYTES as MAX_PICTURES
from search.report.embedded_pictures import read_pictures
from search.report.html_tables import best_table, champion_table
from search.report.make import make_report, try_report
from search.report.model_card import model_card
from search.report.table import Cell
from search.stage.describe import describe_study
from search.store.records import create_study
from search.store.storage import open_storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from tests.search.report.browser import Browser
from tests.search.report.conftest import CLASSES, DATA, STUDY, MadeStudy, settings_at

pytestmark = pytest.mark.usefixtures("quick_importances")

MAX_BYTES = 8_000_000
MAX_S = 20.0
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)


class Loads(HTMLParser):
    """Collects what a page would fetch by itself, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text = ""
        self._is_text = True

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._is_text = tag not in ("script", "style")
        self.addresses += [value or "" for name, value in attributes if name in ("src", "srcset", "href", "data")]

    def handle_endtag(self, tag: str) -> None:
        self._is_text = True

    def handle_data(self, data: str) -> None:
        if self._is_text:
            self.text += data


def read(path: Path) -> Loads:
    page = Loads()
    page.feed(path.read_text("utf-8"))
    return page


@dataclass(frozen=True, kw_only=True)
class TimedReport:
    """A report, and the CPU seconds that its process took to make it: the machine may be busy with other things."""

    path: Path
    took_s: float


@pytest.fixture(scope="session")
def timed_report(made: MadeStudy, tmp_path_factory: pytest.TempPathFactory) -> TimedReport:
    """The report of the finished study, with a picture."""
    folder = names.study_folder(made.settings.home, "made") / "pictures"
    folder.mkdir(parents=True)
    (folder / "predictions.png").write_bytes(PNG)
    index = [{"file": "predictions.png", "title": "Predictions", "caption": "Test images."}, {"file": "gone.png"}]
    write_json(folder / "index.json", index)
    started_s = time.process_time()
    path = make_report(made.settings, "made", tmp_path_factory.mktemp("report") / "made.html")
    return TimedReport(path=path, took_s=time.process_time() - started_s)


@pytest.fixture
def report(timed_report: TimedReport) -> Path:
    return timed_report.path


def test_the_page_loads_nothing_from_anywhere(report: Path) -> None:
    addresses = read(report).addresses
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"url\(|@import", re.findall(r"<style>(.*?)</style>", report.read_text("utf-8"), re.S)[0])


def test_the_page_is_small_and_made_quickly(timed_report: TimedReport) -> None:
    assert timed_report.took_s < MAX_S
    assert timed_report.path.stat().st_size < MAX_BYTES


def test_the_first_screen_holds_the_figures_of_the_database(made: MadeStudy, report: Path) -> None:
    facts, text = made.facts(), read(report).text
    test = facts.test
    assert test is not None
    assert f"{100 * facts.finalists[0].mean:.1f} %" in text
    assert f"{100 * test.accuracy:.1f} %" in text and "200 test images" in text and "look 1" in text
    counts = facts.trials["state"].value_counts()
    for state in ("complete", "pruned", "infeasible"):
        assert f"{counts[state]} {state}" in text


def test_a_look_adds_the_confusion_matrix_and_the_scores_of_every_class(report: Path) -> None:
    text = read(report).text
    assert "Confusion matrix" in text and "me@here" in text and "first look" in text
    for name in CLASSES:  # One of them is written in characters that mean something in HTML.
        assert name in text


def test_a_sealed_test_set_is_stated_and_no_test_figure_is_shown(unfinished: MadeStudy, tmp_path: Path) -> None:
    text = read(make_report(unfinished.settings, "made", tmp_path / "made.html")).text
    assert "this study has used no test image" in text and "No champion yet" in text
    assert f"run sieve evaluate --study made --home {unfinished.settings.home}." in text
    assert "Confusion" not in text


def test_the_page_states_how_to_repeat_the_search(report: Path) -> None:
    text = read(report).text
    assert "python -m search.run --study made --data made-up --budget 2h" in text
    for name in ("study seed", "torch", "f" * 64, "training seeds"):
        assert name in text


def test_drawn_pictures_are_embedded_and_missing_ones_are_left_out(made: MadeStudy, report: Path) -> None:
    assert sum(address.startswith("data:image/webp") for address in read(report).addresses) == 1
    assert read_pictures(made.settings.home, "other", is_tested=True) == []


def test_pictures_too_large_for_the_page_are_compressed_until_all_fit(tmp_path: Path) -> None:
    folder = names.study_folder(tmp_path, "made") / "pictures"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), dtype=np.uint8)
    for name in ("a", "b"):  # Noise, the worst case: as PNG these are 3 MB each.
        Image.fromarray(pixels).save(folder / f"{name}.png")
    write_json(folder / "index.json", [{"file": f"{n}.png", "title": n, "caption": ""} for n in ("a", "b")])
    pictures = read_pictures(tmp_path, "made", is_tested=False)
    assert [(picture.title, picture.width) for picture in pictures] == [("a", 1000), ("b", 1000)]
    assert sum(len(picture.source) for picture in pictures) <= 4 / 3 * MAX_PICTURES + 100


def test_ranges_of_several_bases_are_merged_and_stages_listed_in_order(made: MadeStudy) -> None:
    table = champion_table(made.facts())
    assert table is not None
    searched = {row[0].text: row[3].text for row in table.rows}
    assert searched["activation"] == "relu, gelu"
    assert re.fullmatch(r"0\.0001 to 0\.1, then \S+ to \S+", searched["learning_rate"])


def test_a_value_shared_by_all_best_trials_is_stated_once(made: MadeStudy) -> None:
    table = best_table(made.facts().stages[:1], made.facts().metric)
    assert table is not None
    assert "All of them have activation gelu" in table.caption and "activation" not in table.headings
    assert "learning_rate" in table.headings


def test_another_command_does_not_fail_for_a_report_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("metric")

    monkeypatch.setattr(page, "observe", fail)
    settings = settings_at(tmp_path)
    with closing(open_storage(settings.storage_url, create=True)) as storage:
        create_study(storage, STUDY.name, definition=StudyDefinition(), data=StudyData())
    assert try_report(settings, STUDY.name, pictures=True) is None
    _, first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("no pictures: made has no champion yet") and "sieve pictures --study made" in first
    assert second.startswith("no report: KeyError") and "sieve report --study made" in second


def test_a_study_that_has_just_begun_outside_any_repository_has_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "software", lambda: {"sieve.version.torch": "2.0"})  # No commit.
    settings = settings_at(tmp_path)
    with closing(open_storage(settings.storage_url, create=True)) as storage:
        create_study(storage, STUDY.name, definition=describe_study(STUDY), data=DATA)
    assert "No champion yet" in read(make_report(settings, STUDY.name)).text


def test_a_report_that_cannot_be_written_is_one_line_and_leaves_nothing(made: MadeStudy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write here"):
        make_report(made.settings, "made", tmp_path / "file" / "made.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command_prints_where_the_report_lies(
    made: MadeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "made.html"
    main(["--study", "made", "--home", str(made.settings.home), "--output", str(path), "--json"])
    assert json.loads(capsys.readouterr().out) == {"study": "made", "report": str(path), "bytes": path.stat().st_size}


def test_every_stage_has_a_note_in_optuna_dashboard(made: MadeStudy, report: Path) -> None:
    note = get_note(made.storage.load_study("made/1-architecture"))
    assert "36 trials" in note and "gelu is worth three points" in note
    for command in ("watch", "report"):
        assert f"`sieve {command} --study made --home {made.settings.home}`" in note
    assert "champion: finalist" in get_note(made.storage.load_study("made/confirm"))


def test_the_model_card_names_data_figures_limits_and_seeds(made: MadeStudy) -> None:
    record = made.facts().record
    assert record.champion is not None
    card = model_card(record, record.champion)
    for heading in ("Intended use", "Data", "Figures", "Limits", "Seeds"):
        assert f"## {heading}" in card
    assert "800 training and 200 validation images" in card and str(record.champion.seeds[0]) in card
    assert "- activation: gelu" in card


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("needs chromium")
    with Browser(executable, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)], ids=["narrow and dark", "wide and light"])
def test_a_browser_draws_every_figure_without_an_error(browser: Browser, report: Path, width: int, dark: bool) -> None:
    browser.events.clear()
    browser.show(report.as_uri(), width=width, dark=dark)
    drawn = "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg')?.clientWidth > 0)"
    assert browser.evaluate(drawn)
    assert browser.evaluate("document.querySelectorAll('.plot .scatterlayer .trace').length") > 5
    assert browser.evaluate("document.documentElement.scrollWidth") <= width  # Nothing makes the page itself scroll.
    is_light = browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert is_light is not dark
    for event in browser.events:
        assert event["method"] not in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"), event
        if event["method"] == "Network.requestWillBeSent":
            assert event["params"]["request"]["url"].startswith(("file:", "data:"))


@pytest.fixture(scope="module")
def opened(browser: Browser, timed_report: TimedReport) -> Browser:
    """The report in a wide window in light colours, for tests that do something with it."""
    address = timed_report.path.as_uri()
    if browser.evaluate("[location.href, innerWidth].join()") != f"{address},1280":  # Else a test has opened it so.
        browser.show(address, width=1280)
    return browser


def test_a_click_on_a_heading_sorts_the_table(opened: Browser) -> None:
    table = "[...document.querySelectorAll('table')].find(table => table.querySelector('th button'))"
    column = f"[...{table}.tBodies[0].rows].map(row => Number(row.cells[1].dataset.key))"
    button = f"{table}.querySelectorAll('th button')[1]"
    opened.evaluate(f"{button}.click()")
    assert opened.evaluate(column) == sorted(opened.evaluate(column), reverse=True)
    opened.evaluate(f"{button}.click()")
    assert opened.evaluate(column) == sorted(opened.evaluate(column))
    assert opened.evaluate(f"{button}.closest('th').getAttribute('aria-sort')") == "ascending"


def test_an_unknown_number_comes_last_whichever_way_a_table_is_sorted(opened: Browser) -> None:
    assert [Cell(text="-", key=key).sort_key for key in (math.nan, -math.inf, 0.5, "~")] == ["", "", 0.5, "~"]
    table = "[...document.querySelectorAll('table')].find(table => table.querySelector('th button'))"
    column = f"[...{table}.tBodies[0].rows].map(row => row.cells[1].dataset.key)"
    button = f"{table}.querySelectorAll('th button')[1]"
    known = opened.evaluate(f"{table}.tBodies[0].rows[1].cells[1].dataset.key")
    opened.evaluate(f"{table}.tBodies[0].rows[1].cells[1].dataset.key = ''")
    try:
        for _ in range(2):
            opened.evaluate(f"{button}.click()")
            *keys, last = opened.evaluate(column)
            assert last == "" and all(keys)
    finally:
        opened.evaluate(f"{table}.querySelector('td[data-key=\"\"]').dataset.key = {known!r}")


def test_figures_follow_when_light_turns_to_dark(opened: Browser) -> None:
    color = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    before = opened.evaluate(color)
    opened("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    opened.wait_for(f"{color} !== {before!r}")
