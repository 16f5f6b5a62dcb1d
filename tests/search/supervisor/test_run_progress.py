"""What people see while a study runs."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from search import terminal as terminal_module
from search.durations import show_duration
from search.stage.snapshot import Snapshot, StageSnapshot
from search.store.records import WorkerRecord
from search.supervisor.run_progress import RunProgress, render
from search.terminal import DataProgress
from tests.search.conftest import tiny


def stage(**changes: object) -> StageSnapshot:
    values = {
        "name": "one", "planned": 10, "complete": 3, "pruned": 2, "failed": 1, "out_of_time": 0, "infeasible": 0,
        "skipped": 0, "running": 2, "waiting": 2, "best": 0.75, "best_trial": 4,
        "epochs_done": 12, "epochs_planned": 20,
    }  # fmt: skip
    return StageSnapshot(**{**values, **changes})  # type: ignore[arg-type]


def snapshot(*stages: StageSnapshot, epochs_per_s: float | None = None) -> Snapshot:
    worker = WorkerRecord(
        name="here-0a1b2c:1:1", study="tiny", device="cpu", doing="tiny/1-one #5 epoch 2/2", seen_at=0.0
    )
    return Snapshot(study="tiny", stages=stages, workers=(worker,), epochs_per_s=epochs_per_s)


def shown(width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render(snapshot(stage()), ["one", "two"], "3 min 00 s left"))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_display_shows_every_stage_every_worker_and_the_best() -> None:
    text = shown(100)
    for said in ("tiny", "3 min 00 s left", "one", "6/10", "33%", "0.7500 (#4)", "two", "here ", "1-one #5 epoch 2/2"):
        assert said in text


def test_a_terminal_of_80_columns_shows_a_stage_in_one_line() -> None:
    (line,) = (line for line in shown(80).splitlines() if line.startswith("one"))
    assert "6/10" in line and "0.7500 (#4)" in line
    assert max(map(len, shown(80).splitlines())) <= 80


def test_before_the_first_complete_trial_the_best_is_one_that_a_trial_has_reported() -> None:
    def best(**changes: object) -> str:
        console = Console(file=io.StringIO(), width=100)
        console.print(render(snapshot(stage(best=None, best_trial=None, **changes)), ["one"], ""))
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    assert "0.6100 (#7, not complete)" in best(reported=0.61, reported_trial=7)
    assert "not complete" not in best()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_have_the_units_that_people_use(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


def test_without_a_terminal_a_line_is_printed_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress(tiny(), deadline=None) as shown:
        for done in (4, 6):
            shown.update(lambda done=done: snapshot(stage(epochs_done=done)))  # type: ignore[misc]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["tiny · one 6/10 best 0.7500 (#4), 33% pruned · 1 worker · measuring"]


def test_a_terminal_gets_its_cursor_back_whatever_stopped_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setattr(terminal_module, "Console", lambda **options: terminal)
    with pytest.raises(KeyboardInterrupt), DataProgress() as shown:
        shown("decoding", 64, 1000)
        raise KeyboardInterrupt
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert hide in screen.getvalue()
    assert screen.getvalue().rfind(show) > screen.getvalue().rfind(hide)


def test_other_work_shows_the_time_left_as_soon_as_it_has_a_pace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal_module, "PLAIN_INTERVAL_S", 0.0)
    now = time.monotonic()
    monkeypatch.setattr(terminal_module.time, "monotonic", lambda: now)  # type: ignore[attr-defined]
    shown = DataProgress()
    for what, done, total in (("one", 5, 20), ("one", 10, 20), ("two", 1, 9), ("two", 3, 9), ("two", 4, 0)):
        shown(what, done, total)
        now += 10
    assert capsys.readouterr().err.splitlines() == [
        "one 5 of 20", "one 10 of 20, 20 s left", "two 1 of 9", "two 3 of 9, 30 s left", "two 4 of 0",
    ]  # fmt: skip
