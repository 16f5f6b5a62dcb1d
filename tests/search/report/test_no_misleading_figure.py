"""What a figure must not suggest: short trials, longer confirmations, cut trials, large studies, colours."""

from __future__ import annotations

import copy
import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.trial import FrozenTrial, create_trial

from search.names import CONFIG
from search.report.facts import StudyFacts
from search.report.figures.outcome import SHOWN_CLASSES, comparison, confusion, funnel, labels
from search.report.figures.over_time import MOST_CURVES, creation_order, epoch_curves
from search.report.figures.space import (
    MOST_AXES,
    MOST_CONTOUR_TRIALS,
    MOST_LINES,
    MOST_POINTS,
    contour,
    parallel_coordinates,
    slices,
    slices_note,
)
from search.report.figures.style import SERIES
from search.report.html_tables import best_table, tried
from search.report.importance import rank_parameters, trials_needed
from search.report.observations import longer_confirmation, observe
from search.report.page import gather, render
from search.report.parameter_effects import ParameterEffects
from search.report.pieces import STYLE
from search.report.spaces import Parameter, levels
from search.report.spent import measure_pruning
from search.store.combination_record import CombinationRecord
from search.store.pinned_stage import PinnedParameter
from search.verdict.scores import score
from studies.definition import choice
from tests.search.report.conftest import DATA, MadeStudy

# Machado, Oliveira and Fernandes 2009: full protanopia, deuteranopia and tritanopia, in linear RGB.
COLOUR_VISIONS = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE_XYZ = np.array([0.9505, 1.0, 1.089])
PAPERS = ("#ffffff", "#14171b")


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    scaled = RGB_TO_XYZ @ rgb / WHITE_XYZ
    x, y, z = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", COLOUR_VISIONS)
def test_any_two_colours_differ_for_every_colour_vision(vision: str) -> None:
    seen = [lab(np.clip(np.array(COLOUR_VISIONS[vision]) @ linear(colour), 0, 1)) for colour in SERIES]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 20  # 2 is just noticeable.


def contrast(first: str, second: str) -> float:
    """The ratio of two colours' luminance as WCAG 2 defines it."""
    low, high = sorted(float(linear(colour) @ RGB_TO_XYZ[1]) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_colour_stands_out_from_the_page(paper: str) -> None:
    for colour in SERIES:  # 3 to 1 is level AA for graphics.
        assert contrast(colour, paper) >= 3, colour


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_the_page(theme: str) -> None:
    rules = STYLE.split("@media (prefers-color-scheme: dark)")[["light", "dark"].index(theme)]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", rules[rules.index(":root") :].split("}")[0]))
    for text in ("ink", "soft", "accent", "good", "open"):  # 4.5 to 1 is level AA for text.
        for paper in ("paper", "raised", "faint") if text in ("ink", "soft") else ("paper", "raised"):
            assert contrast(colours[text], colours[paper]) >= 4.5, (text, paper)


def test_trials_of_one_epoch_are_points_and_not_curves(made: MadeStudy) -> None:
    facts = made.facts()
    stage = facts.stages[0]
    short = replace(stage, epochs=stage.epochs[stage.epochs["epoch"] == 1])
    plot = epoch_curves([short], facts.metric)
    assert plot is not None and "single epoch" in plot.caption
    assert {trace.type for trace in plot.figure.data} == {"box"}
    assert sum(len(trace.x) for trace in plot.figure.data) == short.epochs["trial"].nunique()


def test_a_longer_confirmation_is_not_compared_without_its_epochs(made: MadeStudy) -> None:
    facts = made.facts()
    assert longer_confirmation(facts) == ""
    assert facts.confirmation is not None
    longer = replace(facts.confirmation, trials=facts.confirmation.trials.assign(epochs_planned=20))
    changed = replace(facts, confirmation=longer)
    assert "the finalists trained for 20 epochs, the trials of the search for 8" in longer_confirmation(changed)
    plot = comparison(changed)
    assert plot is not None and "architecture 6, rates 8, confirm 20" in plot.caption
    begun = replace(longer, trials=longer.trials.assign(state="running"))
    before = comparison(replace(changed, confirmation=begun))
    assert before is not None and "(architecture 6, rates 8)" in before.caption


def test_a_combination_is_named_beside_the_mean_of_single_runs(made: MadeStudy) -> None:
    facts = made.facts()
    champion = facts.record.champion
    assert champion is not None and "the registered classifier (" not in render(facts, [], rank=lambda trials: []).html
    combination = CombinationRecord(
        kind="ensemble", tried=("ensemble", "mirror"), mirror=True, trials=(0, 1), metric="val_accuracy",
        values={"single": 0.91, "ensemble": 0.93, "mirror": 0.9467}, noise=0.01, passes=4, image_ms=2.0,
        single_image_ms=0.5,
    )  # fmt: skip
    combined = replace(facts, record=replace(facts.record, champion=replace(champion, combination=combination)))
    html = render(combined, [], rank=lambda trials: []).html
    assert "the registered classifier (ensemble of 2 runs, with mirrored images) has 94.7 %" in html
    assert "test images that the registered classifier classifies correctly" in html
    effects = {stage.name: ParameterEffects(found=(), trials=0, trials_needed=1) for stage in combined.stages}
    (test,) = [one.text for one in observe(combined, effects, {}) if one.about == "test"]
    assert "registered classifier's validation accuracy" in test
    plot = comparison(combined)
    assert plot is not None and {trace.y[0]: trace.x[0] for trace in plot.figure.data}["registered"] == 0.9467


def test_what_the_time_budget_cut_is_not_saved_by_the_pruner(made: MadeStudy) -> None:
    stage = made.facts().stages[0]
    before = measure_pruning(stage)
    pruned = stage.trials.index[stage.trials["state"] == "pruned"]
    assert before.trials == len(pruned) > 1
    cut = stage.trials.copy()
    cut.loc[pruned[0], "state"] = "out of time"
    after = measure_pruning(replace(stage, trials=cut))
    assert after.trials == before.trials - 1 and after.epochs_saved < before.epochs_saved


def made_trials(count: int, parameters: int) -> list[FrozenTrial]:
    noise = random.Random(0)
    space = {f"p{number}": FloatDistribution(0.0, 1.0) for number in range(parameters)}
    drawn = [{name: noise.random() for name in space} for _ in range(count)]
    return [create_trial(value=params["p0"], params=params, distributions=space) for params in drawn]


def test_importance_needs_two_trials_for_each_parameter() -> None:
    assert trials_needed(3) == 8 and trials_needed(10) == 20
    assert rank_parameters(made_trials(19, 10)) == []
    assert len(rank_parameters(made_trials(20, 10))) == 10


def large(facts: StudyFacts, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials and epochs of a stage, repeated until there are `count` trials."""
    stage = facts.stages[0]
    times = -(-count // len(stage.trials))
    trials = pd.concat([stage.trials] * times, ignore_index=True)[:count].rename_axis("trial")
    parts = [stage.epochs.assign(trial=stage.epochs["trial"] + k * len(stage.trials)) for k in range(times)]
    epochs = pd.concat(parts, ignore_index=True)
    return trials, epochs[epochs["trial"] < count]


def test_figures_of_5000_trials_show_the_best_and_a_sample(made: MadeStudy) -> None:
    facts = made.facts()
    trials, epochs = large(facts, 5000)
    stage = replace(facts.stages[0], trials=trials, epochs=epochs)
    curves = epoch_curves([stage], facts.metric)
    assert curves is not None and f"{MOST_CURVES} of 4,5" in curves.caption and "random sample" in curves.caption
    best = stage.trials.loc[stage.trials["state"] == "complete", "value"].max()
    drawn = [y for trace in curves.figure.data for y in trace.y if y is not None]
    assert max(drawn) == pytest.approx(best, abs=1e-4)
    marks = [trace for trace in creation_order([stage], facts.metric).figure.data if trace.mode == "markers"]
    assert all(trace.marker.size < 5 and trace.marker.opacity < 1 for trace in marks)
    names = [f"p{number}" for number in range(40)]
    params = pd.DataFrame(np.random.default_rng(0).random((5000, 40)), columns=names, index=trials.index)
    parameters = [Parameter(name=name, distribution=FloatDistribution(0, 1)) for name in names]
    measured = trials[trials["value"].notna()]
    shown = slices(params.loc[measured.index], measured, parameters, facts.metric)
    assert len(shown) == MOST_AXES
    assert sum(len(trace.x) for trace in shown[0].figure.data) == MOST_POINTS
    assert "26 less important parameters" in slices_note(measured, parameters)
    plot = parallel_coordinates(params.loc[measured.index], measured["value"], parameters, facts.metric)
    dimensions = plot.figure.data[0].dimensions
    assert len(dimensions) == MOST_AXES + 1 and "26 less important" in plot.caption
    assert {len(axis["values"]) for axis in dimensions} == {MOST_LINES}
    assert f"1,000 of {len(measured):,} trials" in plot.caption and max(dimensions[0]["values"]) == best


@pytest.mark.parametrize(
    ("distribution", "values"),
    [(FloatDistribution(0.99, 0.999), [0.99, 0.995, None, 0.999]), (choice(0.9995, 0.9999), [0.9995, 0.9999])],
)
def test_ticks_of_numbers_that_differ_little_have_texts_that_differ(
    made: MadeStudy, distribution: Any, values: list[float | None]
) -> None:
    params = pd.DataFrame({"ema_decay": values}, dtype=object)
    parameter = Parameter(name="ema_decay", distribution=distribution)
    shown = pd.Series([0.5] * len(values))
    axis = parallel_coordinates(params, shown, [parameter], made.facts().metric).figure.data[0].dimensions[1]
    assert len(set(axis.ticktext)) == len(axis.tickvals) == (10 if None in values else 2)


def test_a_contour_plot_of_many_trials_shows_the_best_and_a_sample(made: MadeStudy) -> None:
    trials = made_trials(1000, 2)
    parameters = [Parameter(name=name, distribution=FloatDistribution(0, 1)) for name in ("p0", "p1")]
    plot = contour(trials, parameters, made.facts().metric)
    assert plot is not None and f"{MOST_CONTOUR_TRIALS} of 1,000 trials" in plot.caption
    dots = plot.figure.data[1]
    assert len(dots.x) == MOST_CONTOUR_TRIALS
    assert max(dots.x) == max(trial.params["p0"] for trial in trials)  # The value is the first parameter.


@pytest.mark.parametrize("is_log", [False, True], ids=["linear", "logarithmic"])
def test_a_parameter_that_a_trial_does_not_have_is_not_drawn_as_a_value(made: MadeStudy, is_log: bool) -> None:
    params = pd.DataFrame({"gamma": [0.1, math.nan, 0.9]}, dtype=object)
    parameter = Parameter(name="gamma", distribution=FloatDistribution(0.01, 1, log=is_log))
    plot = parallel_coordinates(params, pd.Series([0.5, 0.6, 0.7]), [parameter], made.facts().metric)
    axis = plot.figure.data[0].dimensions[1]
    low, missing, high = axis.values
    assert missing == axis.tickvals[0] < low < high and axis.ticktext[0] == "not set"
    assert axis.ticktext[1] == "0.1" and axis.tickvals[1] == pytest.approx(low)


def many_classes(count: int) -> tuple[Any, Any]:
    """A look at a test set of many classes, and the study's data."""
    names = tuple(f"class {number}" for number in range(count))
    generator = np.random.default_rng(0)
    truth = np.arange(5 * count) % count
    predicted = np.where(generator.random(len(truth)) < 0.7, truth, generator.integers(0, count, len(truth)))
    data = replace(DATA, classes=names, label_distribution={"train": dict.fromkeys(names, 5)})
    return score(truth, predicted, names), data


def test_a_confusion_matrix_of_1000_classes_shows_the_most_confused_ones(made: MadeStudy) -> None:
    found, data = many_classes(1000)
    test = made.facts().test
    assert test is not None
    look = replace(test, **vars(found), classes=data.classes)
    plot = confusion(look)
    assert len(plot.figure.data[0].x) == SHOWN_CLASSES and f"{SHOWN_CLASSES} of 1,000 classes" in plot.caption
    assert labels(data, None).figure.layout.xaxis.showticklabels is False


def test_every_number_of_the_first_screen_states_what_it_averages(made: MadeStudy, unfinished: MadeStudy) -> None:
    def first_screen(facts: StudyFacts) -> Sequence[str]:
        part = render(facts, [], rank=lambda trials: []).parts["figures"]
        return part.split('class="detail">')[1:]

    validation, test, cost = first_screen(made.facts())
    assert "mean of 3 runs of the champion, each on a fresh seed, over 200 validation images" in validation
    assert "share of 200 test images that the champion&#39;s best run" in test
    assert "sum of the time of" in cost
    assert "a single run over 200 validation images; not confirmed yet" in first_screen(unfinished.facts())[0]


def named(facts: StudyFacts, *stages: str) -> StudyFacts:
    """The study with other names of its search stages."""
    changed = [
        replace(stage, record=replace(stage.record, name=name))
        for stage, name in zip(facts.stages, stages, strict=True)
    ]
    return replace(facts, stages=tuple(changed))


def test_a_stage_named_like_another_row_has_a_row_of_its_own(made: MadeStudy) -> None:
    plot = comparison(named(made.facts(), "champion", "test"))
    assert plot is not None
    rows = [trace.y[0] for trace in plot.figure.data]
    assert rows == ["stage champion", "stage test", "champion", "test"]


def test_stages_whose_names_are_numbers_do_not_make_an_axis_of_numbers(made: MadeStudy) -> None:
    facts = named(made.facts(), "2", "1")
    overview = gather(facts, rank=lambda trials: []).overview
    for name in ("comparison", "funnel", "pruning", "components", "finalists"):
        plot = overview[name]
        assert plot is not None and plot.figure.layout.yaxis.type == "category", name
    assert [note.y for note in funnel(facts).figure.layout.annotations] == [0, 1, 2]


def test_an_ablation_has_one_configuration_passed_on_to_it_and_no_finalists(made: MadeStudy) -> None:
    facts = made.facts()
    assert facts.confirmation is not None
    cells = ({"norm": "with"}, {"norm": "without"}, {"norm": "other"})
    ablation = replace(facts.confirmation, pinned=replace(facts.confirmation.pinned, cells=cells))
    notes = funnel(replace(facts, confirmation=ablation)).figure.layout.annotations
    assert [note.text.strip() for note in notes] == ["2 passed on", "1 passed on", "1 champion"]
    assert funnel(facts).figure.layout.annotations[1].text == " 3 finalists"


def test_choices_that_differ_in_the_fourth_digit_stay_apart(made: MadeStudy) -> None:
    facts = made.facts()
    stage = facts.stages[0]
    distribution = choice(0.9995, 0.9999)
    parameter = Parameter(name="ema_decay", distribution=distribution)
    assert list(levels(parameter, pd.Series([0.9995, 0.9999], dtype=object))) == ["0.9995", "0.9999"]
    pinned = PinnedParameter(name="ema_decay", distribution=distribution_to_json(distribution))
    trials = copy.deepcopy(stage.optuna_trials)
    for trial in trials:
        if CONFIG in trial.user_attrs:
            trial.user_attrs[CONFIG]["ema_decay"] = (0.9995, 0.9999)[trial.number % 2]
    params = stage.params.assign(ema_decay=[(0.9995, 0.9999)[number % 2] for number in stage.params.index])
    changed = replace(stage, pinned=replace(stage.pinned, spaces=((pinned,),)), optuna_trials=trials, params=params)
    assert tried(replace(facts, stages=(changed,)), "ema_decay") == "0.9995, 0.9999"
    (plot,) = slices(params, stage.trials, [parameter], facts.metric)
    assert plot.figure.layout.xaxis.categoryarray == ("0.9995", "0.9999")
    assert {x for trace in plot.figure.data for x in trace.x} == {"0.9995", "0.9999"}
    best = best_table([changed], facts.metric)
    assert best is not None
    assert {row[best.headings.index("ema_decay")].text for row in best.rows} == {"0.9995", "0.9999"}
