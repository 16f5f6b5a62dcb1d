"""A finished run as people read it."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from search.verdict.result import print_result

STAGE = {
    "name": "one", "complete": 5, "pruned": 3, "out_of_time": 0, "infeasible": 1, "failed": 0, "skipped": 2,
    "best": 0.91,
}  # fmt: skip
CHAMPION = {
    "model_uri": "models:/tiny/1", "trial": 4, "searched": {"dropout": 0.1, "learning_rate": 0.00123456},
    "val_accuracy": 0.9, "val_accuracy_interval": [0.88, 0.92], "val_accuracy_seeds": [0.89, 0.91], "ties": [1],
}  # fmt: skip
TEST = {"accuracy": 0.875, "interval": [0.86, 0.89], "macro_f1": 0.87, "images": 1234, "look": 1}


def printed(*, width: int = 80, **changes: Any) -> str:
    result = {"study": "tiny", "wall_s": 75.0, "stages": [STAGE], "champion": CHAMPION, "ablation": None, "test": TEST}
    result |= changes
    console = Console(file=io.StringIO(), width=width)
    print_result(result, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_result_names_the_champion_its_interval_its_ties_and_the_test_figure() -> None:
    text = printed()
    for said in (
        "tiny in 1 min 15 s",
        "models:/tiny/1 (confirm #4)",
        "learning_rate 0.001235",
        "0.9000 (95 % 0.8800 to 0.9200), mean of 2 seeds",
        "not told apart from finalist 2",
        "0.8750 (95 % 0.8600 to 0.8900), macro-F1 0.8700, 1,234 images, look 1",
    ):
        assert said in text


def test_the_counts_of_a_stage_add_up_to_what_was_planned() -> None:
    heading, row = (line for line in printed().splitlines() if "complete" in line or "0.9100" in line)
    assert [heading.index(name) for name in ("complete", "pruned", "infeasible", "failed", "skipped")]
    assert [int(cell) for cell in row.replace("│", " ").split() if cell.isdigit()] == [5, 3, 1, 0, 2]


def test_trials_cut_by_the_time_budget_have_a_column_of_their_own_where_there_are_any() -> None:
    assert "out of time" not in printed()
    heading, row = (
        line.replace("┃", "│").split("│")
        for line in printed(width=120, stages=[{**STAGE, "out_of_time": 4}]).splitlines()
        if "complete" in line or "0.9100" in line
    )
    column = [name.strip() for name in heading].index("out of time")
    assert row[column].strip() == "4"


def test_a_sealed_test_set_is_said_with_the_command_that_opens_it() -> None:
    assert "python -m search.evaluate --study tiny" in printed(test=None)


def test_a_single_seed_has_no_interval() -> None:
    text = printed(champion={**CHAMPION, "val_accuracy_interval": None, "val_accuracy_seeds": [0.9], "ties": []})
    assert "validation 0.9000, mean of 1 seeds" in text
    assert "not told apart" not in text


def test_a_front_is_printed_a_line_a_trial() -> None:
    front = [{"trial": 7, "value": 0.91, "macs": 123456}, {"trial": 2, "value": 0.8, "macs": 900}]
    text = printed(stages=[{**STAGE, "front": front}])
    assert "front      0.9100 for 123,456 macs (one #7)\n           0.8000 for 900 macs (one #2)\n" in text
