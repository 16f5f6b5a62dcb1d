from __future__ import annotations

import random
from itertools import product

import pytest
from scipy import stats

from search.verdict.factorial import Effect, Run, estimate_effects, holm

FACTORS = {"norm": ("without", "with"), "dropout": ("without", "with"), "flip": ("without", "with")}
CELLS = [dict(zip(FACTORS, levels, strict=True)) for levels in product(*FACTORS.values())]
SEEDS = range(4)


def worth(cell: dict[str, str]) -> float:
    """Batch norm brings six points, dropout costs one and with batch norm three more, flipping does nothing."""
    has = {factor: level == "with" for factor, level in cell.items()}
    return 0.6 + 0.06 * has["norm"] - 0.01 * has["dropout"] - 0.03 * (has["norm"] and has["dropout"])


def runs(noise: float, seed: int = 0, luck: float = 0.05) -> list[Run]:
    """Seeds differ far more than the noise: only what is compared within a seed can be seen."""
    draw = random.Random(seed)
    of_seed = {number: draw.gauss(0, luck) for number in SEEDS}
    return [
        Run(cell=index, seed=number, value=worth(cell) + of_seed[number] + draw.gauss(0, noise))
        for number in SEEDS
        for index, cell in enumerate(CELLS)
    ]


def by_name(found: list[Effect]) -> dict[str, Effect]:
    return {" x ".join(effect.factors): effect for effect in found}


def test_main_effects_and_interactions_are_found_within_seeds() -> None:
    found = by_name(estimate_effects(CELLS, runs(noise=0.004)))

    assert list(found) == ["norm", "dropout", "flip", "norm x dropout", "norm x flip", "dropout x flip"]
    expected = {"norm": 0.045, "dropout": -0.025, "flip": 0.0, "norm x dropout": -0.03}
    for name, value in expected.items():
        interval = found[name].contrast.interval
        assert interval is not None and interval[0] < value < interval[1], name
    assert [found[name].is_clear for name in ("norm", "dropout", "flip", "norm x dropout")] == [True, True, False, True]


def test_with_two_cells_it_is_the_paired_t_test() -> None:
    cells = [{"norm": "without"}, {"norm": "with"}]
    values = {0: (0.61, 0.58, 0.66, 0.60), 1: (0.63, 0.62, 0.67, 0.64)}
    (effect,) = estimate_effects(
        cells, [Run(cell=c, seed=s, value=value) for c, own in values.items() for s, value in enumerate(own)]
    )
    paired = stats.ttest_rel(values[1], values[0])
    assert effect.contrast.p_value == pytest.approx(paired.pvalue)
    assert effect.contrast.interval == pytest.approx(tuple(paired.confidence_interval(0.95)))


def test_the_intervals_cover_the_true_effect_at_their_stated_rate() -> None:
    held = 0
    for seed in range(200):
        interval = estimate_effects(CELLS, runs(noise=0.02, seed=seed))[0].contrast.interval
        assert interval is not None
        held += interval[0] < 0.045 < interval[1]
    assert 180 <= held <= 199  # 190 expected, with a standard deviation of 3.


def test_a_lost_run_widens_the_intervals_without_biasing_the_effects() -> None:
    """The lost run was on the worst seed: the mean over its cell alone would be far too good."""
    whole = runs(noise=0.002)
    worst = min(whole, key=lambda run: run.value - worth(CELLS[run.cell]))
    cut = estimate_effects(CELLS, [run for run in whole if run is not worst])
    for before, after in zip(estimate_effects(CELLS, whole), cut, strict=True):
        assert after.contrast.estimate == pytest.approx(before.contrast.estimate, abs=0.002)


def test_effects_that_need_a_cell_without_any_run_are_left_out() -> None:
    cells = [{"remedy": level} for level in ("none", "weights", "focal")]
    found = estimate_effects(cells, [run for run in runs(noise=0.01) if run.cell in (0, 2)])
    assert [effect.levels for effect in found] == [("focal",)]
    assert estimate_effects(CELLS, [run for run in runs(noise=0.01) if run.cell != 5]) == []


def test_every_level_is_compared_with_the_first_one() -> None:
    cells = [{"remedy": level} for level in ("none", "weights", "focal")]
    values = [Run(cell=c, seed=s, value=c + 0.1 * s + 0.01 * (c * s % 2)) for c in range(3) for s in range(3)]
    found = estimate_effects(cells, values)
    assert [(effect.levels, effect.reference) for effect in found] == [
        (("weights",), ("none",)),
        (("focal",), ("none",)),
    ]
    assert [round(effect.contrast.estimate, 1) for effect in found] == [1.0, 2.0]


def test_a_single_seed_has_estimates_but_no_intervals() -> None:
    found = estimate_effects(CELLS, [run for run in runs(noise=0.01) if run.seed == 0])
    assert all(effect.contrast.interval is None and not effect.is_clear for effect in found)


def test_holm_s_correction_is_the_published_one() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.02]) == [None, 0.02]
