"""A finished run as people read it."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from data.spec import DataSpec
from search.stage.pareto import FrontTrial
from search.stage.snapshot import StageSnapshot
from search.store.champion_record import ChampionRecord
from search.store.early_end import EarlyEnd
from search.store.look_result import LookResult
from search.store.seal import Look
from search.store.study_data import StudyData
from search.verdict.result import StageResult, StudyResult, print_result

COUNTS = StageSnapshot(
    name="one", planned=11, complete=5, pruned=3, infeasible=1, out_of_time=0, failed=0, skipped=2,
    running=0, waiting=0, best=0.91, best_trial=7, epochs_done=20, epochs_planned=22,
)  # fmt: skip
STAGE = StageResult(snapshot=COUNTS, front=None)
CHAMPION = ChampionRecord(
    model_uri="models:/tiny/1", trial=4, searched={"dropout": 0.1, "learning_rate": 0.00123456},
    val_accuracy=0.9, val_accuracy_interval=(0.88, 0.92), val_accuracy_seeds=(0.89, 0.91), ties=(1,),
)  # fmt: skip
RESULT = StudyResult(
    study="tiny",
    stages=(STAGE,),
    warm_start=None,
    champion=CHAMPION,
    ablation=None,
    test=LookResult(accuracy=0.875, interval=(0.86, 0.89), macro_f1=0.87, images=1234, look=1),
    data=StudyData(),
    wall_s=75.0,
)


def printed(result: StudyResult) -> str:
    file = io.StringIO()
    print_result(result, Console(file=file, width=80), "sieve evaluate --study tiny")
    return file.getvalue()


def test_a_result_names_the_champion_its_interval_its_ties_and_the_test_figure() -> None:
    text = printed(RESULT)
    for part in (
        "tiny in 1 min 15 s",
        "models:/tiny/1 (confirm #4)",
        "learning_rate 0.001235",
        "0.9000 (95 % 0.8800 to 0.9200), mean of 2 seeds",
        "these seeds do not separate it from finalist 2",
        "0.8750 (95 % 0.8600 to 0.8900), macro-F1 0.8700, 1,234 images, look 1",
    ):
        assert part in text


def test_the_counts_of_a_stage_add_up_to_what_was_planned() -> None:
    heading, row = (line for line in printed(RESULT).splitlines() if "complete" in line or "0.9100" in line)
    columns = [heading.index(name) for name in ("complete", "pruned", "infeasible", "failed", "skipped")]
    assert columns == sorted(columns)
    counts = [int(cell) for cell in row.replace("│", " ").split() if cell.isdigit()]
    assert counts == [5, 3, 1, 0, 2] and sum(counts) == COUNTS.planned


def test_a_sealed_test_set_is_shown_with_the_command_that_opens_it() -> None:
    assert "sieve evaluate --study tiny" in printed(replace(RESULT, test=None))


def test_a_single_seed_has_no_interval() -> None:
    single = replace(CHAMPION, val_accuracy_interval=None, val_accuracy_seeds=(0.9,), ties=())
    text = printed(replace(RESULT, champion=single))
    assert "validation 0.9000, mean of 1 seed\n" in text
    assert "do not separate" not in text


def test_a_champion_trained_on_all_folds_shows_its_number_of_images() -> None:
    text = printed(replace(RESULT, champion=replace(CHAMPION, refit_images=1234)))
    assert "mean of 2 folds; then trained on all 1,234 images" in " ".join(text.split())


def test_a_front_is_printed_with_one_line_for_each_trial() -> None:
    best, cheap = (7, 0.91, 123456), (2, 0.8, 900)
    front = tuple(FrontTrial(trial=t, value=v, against="macs", cost=c) for t, v, c in (best, cheap))
    text = printed(replace(RESULT, stages=(replace(STAGE, front=front),)))
    assert "front      0.9100 for 123,456 macs (one #7)\n           0.8000 for 900 macs (one #2)\n" in text


def test_a_stage_that_ended_early_is_named_with_the_reason() -> None:
    early = EarlyEnd(begun=9, planned=11, gain=0.004, noise=0.012)
    text = printed(replace(RESULT, stages=(replace(STAGE, snapshot=replace(COUNTS, early_end=early)),)))
    assert "one ended early after 9 of 11 trials: the possible gain of 0.0040 lies below the noise" in text
    assert "ended early" not in printed(RESULT)


def test_a_look_without_a_result_is_not_shown_as_sealed() -> None:
    look = Look(study="tiny", number=1, by="me@here", opened_at=0.0, reason="first look", model_uri="m", result=None)
    text = printed(replace(RESULT, test=None, looks=(look,)))
    assert "opened, no result; look again with sieve evaluate --study tiny --again REASON" in text
    assert "sealed" not in text


def test_a_champion_whose_loss_is_higher_than_the_best_of_the_search_is_worse() -> None:
    losing = replace(RESULT, champion=replace(CHAMPION, metric="val_loss", value=0.95), stages=(STAGE, STAGE))
    text = printed(losing)
    assert "its mean val_loss of 0.9500 is worse than the 0.9100 of one #7, which is a single run" in text
    on_folds = printed(replace(losing, data=StudyData(spec=DataSpec(source="", folds=5))))
    assert "of one #7, which is the best of 11" in on_folds
