from __future__ import annotations

import pytest

from benchmarks.page_tables import PAGE, TABLES, stored_results, with_tables
from benchmarks.summary import summarise
from benchmarks.workloads import WORKLOADS
from tests.benchmarks.test_summary import block


def test_the_page_shows_the_stored_results() -> None:
    page = PAGE.read_text()
    assert with_tables(page, stored_results()) == page, "run python -m benchmarks.page_tables"
    assert all(f"<!-- {name} -->" in page for name in TABLES)


def test_a_result_becomes_a_row_for_each_contender() -> None:
    blocks = [block("A", [0.5, 0.6], trial_s=50), block("ours", [0.51, 0.61])]
    result = {
        **summarise(WORKLOADS["W1"], blocks, train_images=10_000, devices=2),
        "workload": "W1",
        "title": "a title",
        "images": {"train": 10_000, "val": 2_000},
        "measured_on": "2026-01-02",
        "machine": {"gpus": [], "cores": 2, "cpu": "a processor", "versions": {"torch": "2.11"}},
    }
    page = with_tables("<!-- throughput -->old<!-- /throughput -->", {"throughput-W1-cifar10": result})
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| A") or line.startswith("| ours")]
    assert [row[0] for row in rows] == ["| A", "| ours"]
    assert rows[0][3] == "5.0" and rows[1][-1] == "+1.0 ± 0.0 (2) |"
    assert "old" not in page and "Validity gate: passed." in page


def test_a_mark_that_nothing_is_made_for_is_an_error() -> None:
    with pytest.raises(KeyError):
        with_tables("<!-- unknown --><!-- /unknown -->", {})
