from __future__ import annotations

import pytest

from benchmarks.contenders.task import FinishedTrial
from benchmarks.measured import Measured
from benchmarks.summary import accuracy_difference, passes, summarise, values_of
from benchmarks.turns import Block
from benchmarks.workloads import TRIALS, WORKLOADS, shortened


def block(contender: str, accuracies: list[float], *, number: int = 0, trial_s: float = 10.0) -> Block:
    trials = [
        FinishedTrial(
            slot=slot,
            started_at=105 + slot * trial_s,
            ended_at=105 + (slot + 1) * trial_s,
            val_accuracy=(accuracy / 2, accuracy, accuracy - 0.1),
        )
        for slot, accuracy in enumerate(accuracies)
    ]
    measured = Measured(started_at=100, wall_s=200, cpu_s=50, peak_rss_mib=1000)
    return Block(contender=contender, number=number, trials=tuple(trials), measured=measured)


def summary(*blocks: Block) -> dict[str, object]:
    return summarise(WORKLOADS["W1"], blocks, train_images=10_000, devices=2)


def test_trials_per_hour_are_those_of_the_whole_definition_with_one_start() -> None:
    result = summary(block("A", [0.5, 0.5]), block("A", [0.5], number=1))
    figures = result["contenders"]["A"]  # type: ignore[index]
    assert figures["finished_trials"] == 3
    assert figures["startup_s"] == pytest.approx(5)
    assert figures["trials_per_hour"] == pytest.approx(3600 * TRIALS / (5 + TRIALS * 10))
    assert figures["trials_per_hour_warm"] == pytest.approx(360)
    assert figures["images_per_s"] == pytest.approx(10_000)
    assert figures["share_of_limit"] == pytest.approx(10_000 / 2 / 5_200)


def test_the_rates_of_a_short_run_are_those_of_whole_trials() -> None:
    short = shortened(WORKLOADS["W1"], epochs=2)
    figures = summarise(short, [block("A", [0.5, 0.5])], train_images=10_000, devices=2)["contenders"]["A"]
    assert figures["images_per_s"] == pytest.approx(2_000)  # Two epochs in ten seconds.
    assert figures["trials_per_hour_warm"] == pytest.approx(3600 / 50)
    assert figures["trials_per_hour"] == pytest.approx(3600 * TRIALS / (5 + TRIALS * 50))


def test_the_ratio_is_ours_over_the_others() -> None:
    result = summary(block("A", [0.5, 0.5], trial_s=50), block("ours", [0.5, 0.5], trial_s=10))
    assert result["ratio_warm"] == {"A": pytest.approx(5)}


def test_accuracies_are_compared_where_both_finished_the_configuration() -> None:
    ours = [block("ours", [0.60, 0.70, 0.99]), block("ours", [0.10], number=1)]
    assert accuracy_difference(values_of(ours), values_of([block("A", [0.50, 0.70])])) == {
        "pairs": 2,
        "mean": pytest.approx(0.05),
        "standard_error": pytest.approx(0.05),
    }


@pytest.mark.parametrize(("mine", "gate"), [(0.9, True), (0.497, True), (0.494, False)])
def test_the_gate_is_half_a_point(mine: float, gate: bool) -> None:
    assert summary(block("A", [0.5]), block("ours", [mine]))["gate"] is gate


def test_a_reference_for_every_configuration_takes_the_place_of_the_few_that_a_finished() -> None:
    blocks = [block("A", [0.5]), block("ours", [0.5, 0.6, 0.7])]
    reference = {(0, 0): 0.49, (0, 1): 0.62, (0, 2): 0.70}
    result = summarise(WORKLOADS["W2"], blocks, train_images=1_600, devices=2, reference=reference)
    assert result["val_accuracy_difference"]["ours"]["pairs"] == 3
    assert result["val_accuracy_difference"]["ours"]["mean"] == pytest.approx(-0.01 / 3)
    assert result["reference_against_a"] == {"pairs": 1, "mean": pytest.approx(-0.01), "standard_error": 0.0}


def test_without_a_pair_there_is_no_gate_to_pass() -> None:
    assert not passes(accuracy_difference(values_of([block("ours", [0.5], number=1)]), values_of([block("A", [0.5])])))
    assert summary(block("ours", [0.5]))["gate"] is False
