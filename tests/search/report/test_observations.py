from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.names import CONFIG
from search.report.hints import edge_hints, pruned_choices
from search.report.metric import Metric
from search.report.observations import Observation, observe
from search.report.parameter_effects import ParameterEffect, ParameterEffects, estimate_parameter_effects
from search.report.spent import measure_pruning
from tests.search.report.conftest import GELU_GAIN, MadeStudy

SPACE = {
    "activation": CategoricalDistribution(["relu", "gelu", "silu"]),
    "filters": CategoricalDistribution([16, 32, 64]),
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
}


def searched(trials: int, seed: int, value: Callable[[dict[str, object]], float]) -> list[FrozenTrial]:
    """Random trials with a noise of half a point."""
    noise = random.Random(seed)
    made = []
    for _ in range(trials):
        params: dict[str, object] = {
            "activation": noise.choice(["relu", "gelu", "silu"]),
            "filters": noise.choice([16, 32, 64]),
            "learning_rate": 10 ** noise.uniform(-4, -1),
        }
        made.append(create_trial(value=value(params) + noise.gauss(0, 0.005), params=params, distributions=SPACE))
    return made


def observed(made: MadeStudy) -> list[Observation]:
    facts = made.facts()
    effects = {stage.name: estimate_parameter_effects(stage.optuna_trials, maximize=True) for stage in facts.stages}
    return observe(facts, effects, {stage.name: measure_pruning(stage) for stage in facts.stages})


def test_a_real_effect_is_found_with_its_size() -> None:
    trials = searched(40, 0, lambda params: 0.8 + (0.03 if params["activation"] == "gelu" else 0.0))
    first = estimate_parameter_effects(trials, maximize=True).found[0]
    assert first.parameter == "activation" and first.better == "gelu"
    assert first.interval[0] <= 0.03 <= first.interval[1] and first.interval[0] > 0
    assert first.p_value < 1e-6


def test_noise_is_called_an_effect_at_most_as_often_as_stated() -> None:
    runs = 150
    false = sum(
        any(
            effect.p_value < 0.05
            for effect in estimate_parameter_effects(searched(30, seed, lambda _: 0.8), maximize=True).found
        )
        for seed in range(runs)
    )
    assert false <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5


def test_an_optimum_in_the_middle_of_a_range_is_found() -> None:
    trials = searched(45, 1, lambda params: 0.8 - 0.05 * abs(float(str(params["learning_rate"])) > 1e-2))
    effect = next(e for e in estimate_parameter_effects(trials, maximize=True).found if e.parameter == "learning_rate")
    assert effect.p_value < 0.01 and float(effect.worse.split(" to ")[1]) > 1e-2


def test_an_effect_is_not_credited_to_a_correlated_parameter() -> None:
    noise = random.Random(2)
    trials = []
    for index in range(60):
        activation = "gelu" if index % 2 else "relu"
        filters = 64 if (activation == "gelu") == (noise.random() < 0.8) else 16  # Mostly, but not always, together.
        value = 0.8 + (0.03 if activation == "gelu" else 0) + noise.gauss(0, 0.005)
        space = {name: SPACE[name] for name in ("activation", "filters")}
        trials.append(
            create_trial(value=value, params={"activation": activation, "filters": filters}, distributions=space)
        )
    p_values = {effect.parameter: effect.p_value for effect in estimate_parameter_effects(trials, maximize=True).found}
    assert p_values["activation"] < 1e-6 and p_values["filters"] > 0.05


def test_a_loss_is_better_when_it_is_smaller() -> None:
    trials = searched(40, 3, lambda params: 0.8 - (0.03 if params["activation"] == "gelu" else 0.0))
    assert estimate_parameter_effects(trials, maximize=False).found[0].better == "gelu"


def test_too_few_trials_give_no_effects_but_the_number_needed() -> None:
    effects = estimate_parameter_effects(searched(12, 4, lambda _: 0.8), maximize=True)
    assert effects == ParameterEffects(found=(), trials=12, trials_needed=13) and not effects.is_enough


def test_the_report_names_the_effect_its_size_and_its_interval(made: MadeStudy) -> None:
    sentence = next(o for o in observed(made) if o.about == "architecture" and o.strength == "clear")
    found = re.search(
        r"gelu instead of relu raised validation accuracy by (\d\.\d) points.*interval \+(\d\.\d) to \+(\d\.\d), p",
        sentence.text,
    )
    assert found, sentence.text
    size, low, high = map(float, found.groups())
    assert low <= 100 * GELU_GAIN <= high and low <= size <= high


def test_parameters_without_an_effect_are_reported_as_unclear(made: MadeStudy) -> None:
    about = [o for o in observed(made) if o.about == "architecture" and o.strength == "clear"]
    assert not any("filters" in o.text or "dropout" in o.text for o in about)
    silent = next(o for o in observed(made) if o.about == "architecture" and "No clear effect" in o.text)
    assert "filters (" in silent.text


def test_a_bound_larger_than_all_observed_differences_is_left_out(made: MadeStudy) -> None:
    facts = made.facts()
    wide = [
        ParameterEffect(
            parameter=name, better="a", worse="b", difference=0.01, interval=(-bound, bound), p_value=1.0, trials=30
        )
        for name, bound in (("filters", 1.7), ("dropout", 0.01))
    ]
    effects = {stage.name: ParameterEffects(found=tuple(wide), trials=30, trials_needed=20) for stage in facts.stages}
    texts = [one.text for one in observe(facts, effects, {}) if "No clear effect" in one.text]
    assert texts and all("of: dropout (1.0 points)." in text for text in texts)
    assert all("too few to bound the effect of: filters." in text for text in texts)


def test_of_many_parameters_without_effect_the_first_are_named_and_the_others_counted(made: MadeStudy) -> None:
    facts = made.facts()
    none = [
        ParameterEffect(
            parameter=f"p{number}", better="a", worse="b", difference=0.0, interval=(-0.01, 0.001 * number),
            p_value=1.0, trials=30,
        )
        for number in range(1, 12)
    ]  # fmt: skip
    effects = {stage.name: ParameterEffects(found=tuple(none), trials=30, trials_needed=20) for stage in facts.stages}
    (text, *_) = [one.text for one in observe(facts, effects, {}) if "No clear effect" in one.text]
    assert "p8 (0.8 points) and 3 more. The figure" in text and "p9" not in text


def test_the_lead_over_other_finalists_has_an_interval_and_a_verdict(made: MadeStudy) -> None:
    facts = made.facts()
    leads = [o for o in observed(made) if o.about == "champion" and "shared seeds" in o.text]
    assert len(leads) == len(facts.finalists) - 1
    tied = {f"finalist {index + 1} " for index in facts.record.champion.ties} if facts.record.champion else set()
    for lead in leads:
        is_tied = any(name in lead.text for name in tied)
        assert ("do not separate" in lead.text) == is_tied == (lead.strength == "unclear")


def test_without_a_champion_there_is_no_finding_about_it(unfinished: MadeStudy) -> None:
    assert not [o for o in observed(unfinished) if o.about in ("champion", "test")]


@pytest.mark.parametrize(
    ("value", "images", "expected"), [(0.96172, 287, "96.2 %"), (0.96172, 10_000, "96.17 %"), (float("nan"), 10, "-")]
)
def test_accuracies_have_as_many_digits_as_their_images_support(value: float, images: int, expected: str) -> None:
    assert Metric(name="val_accuracy", images=images).show(value) == expected


def test_pruned_choices_are_named_only_when_chance_does_not_explain_them(made: MadeStudy) -> None:
    stage = made.facts().stages[0]
    flipped = stage.trials.copy()
    begun = flipped["state"].isin(["complete", "pruned"])
    flipped.loc[begun, "state"] = "complete"
    assert pruned_choices(replace(stage, trials=flipped)) == []
    is_relu = begun & (stage.params["activation"] == "relu")
    flipped.loc[is_relu, "state"] = "pruned"
    first = pruned_choices(replace(stage, trials=flipped))[0]
    assert (first.parameter, first.level, first.others_pruned) == ("activation", "relu", 0)
    assert first.pruned == first.trials == int(is_relu.sum())


def test_winners_at_the_end_of_a_range_are_a_hint_and_others_are_not(made: MadeStudy) -> None:
    stage = made.facts().stages[0]
    at_edge = searched(60, 5, lambda params: float(str(params["learning_rate"])))
    at_edge.append(create_trial(state=TrialState.FAIL))
    hints = list(edge_hints(replace(stage, optuna_trials=tuple(at_edge))))
    assert any("learning_rate is at the upper end" in hint for hint in hints)
    inside = searched(60, 6, lambda params: -abs(float(str(params["learning_rate"])) - 3e-3))
    assert not any("learning_rate" in hint for hint in edge_hints(replace(stage, optuna_trials=tuple(inside))))


@pytest.mark.parametrize(("accuracy", "is_overfitted"), [(0.5, True), (0.99, False)])
def test_only_a_test_accuracy_below_the_validation_accuracy_is_called_overfitting(
    made: MadeStudy, accuracy: float, is_overfitted: bool
) -> None:
    facts = made.facts()
    assert facts.test is not None
    result = replace(facts.test, accuracy=accuracy, interval=(accuracy - 0.01, accuracy + 0.01))
    looked = replace(facts, looks=(replace(facts.looks[-1], result=result),))
    effects = {stage.name: ParameterEffects(found=(), trials=0, trials_needed=1) for stage in facts.stages}
    (text,) = [one.text for one in observe(looked, effects, {}) if one.about == "test"]
    assert "two sets differ" in text and ("overfitted" in text) == is_overfitted


@pytest.mark.parametrize("flip", [0.0, 0.5])
def test_training_images_are_called_augmented_only_if_the_champion_augments_them(made: MadeStudy, flip: float) -> None:
    facts = made.facts()
    assert facts.confirmation is not None
    trials = copy.deepcopy(facts.confirmation.optuna_trials)
    for trial in trials:
        trial.user_attrs[CONFIG]["flip"] = flip
    changed = replace(facts, confirmation=replace(facts.confirmation, optuna_trials=trials))
    effects = {stage.name: ParameterEffects(found=(), trials=0, trials_needed=1) for stage in facts.stages}
    (text,) = [one.text for one in observe(changed, effects, {}) if "best epochs" in one.text]
    assert ("on augmented training images" in text) == bool(flip)


def test_parameters_that_only_change_together_get_no_effect_and_are_named(made: MadeStudy) -> None:
    noise = random.Random(7)
    trials = []
    for index in range(60):
        is_gelu = index % 2 == 1
        params = {
            "activation": "gelu" if is_gelu else "relu",
            "filters": 64 if is_gelu else 16,
            "learning_rate": 10 ** noise.uniform(-4, -1),
        }
        value = 0.8 + 0.03 * is_gelu + noise.gauss(0, 0.005)
        trials.append(create_trial(value=value, params=params, distributions=SPACE))
    effects = estimate_parameter_effects(trials, maximize=True)
    assert sorted(effects.inseparable) == ["activation", "filters"]
    assert [effect.parameter for effect in effects.found] == ["learning_rate"]
    facts = made.facts()
    found = observe(facts, {stage.name: effects for stage in facts.stages}, {})
    texts = [one.text for one in found if one.about == "rates" and "cannot separate" in one.text]
    assert texts == [
        "60 complete trials cannot separate the effects of: activation, filters. In these trials they changed "
        "together with others."
    ]
