"""A report of 5,000 trials, 40 parameters and 1,000 classes: made within minutes, small, and drawn by a browser."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from search import names
from search.report.facts import StageFacts, StudyFacts
from search.report.page import render
from search.verdict.scores import score
from tests.search.report.browser import Browser
from tests.search.report.conftest import MadeStudy

TRIALS, PARAMETERS, CLASSES, EPOCHS = 5000, 40, 1000, 6
MAX_BYTES = 16_000_000
MAX_S = 300.0


def large_stage(stage: StageFacts) -> StageFacts:
    """The stage with thousands of trials, of which a tenth was pruned after two epochs."""
    noise = np.random.default_rng(0)
    space = {f"p{number}": FloatDistribution(0.0, 1.0) for number in range(PARAMETERS - 1)}
    drawn = noise.random((TRIALS, len(space)))
    options = CategoricalDistribution(["relu", "gelu"])
    names_of = [*space, "activation"]
    trials, rows, epochs = [], [], []
    for number, values in enumerate(drawn):
        params = {**dict(zip(space, map(float, values), strict=True)), "activation": options.choices[number % 2]}
        value = float(0.7 + 0.1 * values[0] + 0.02 * (number % 2) + noise.normal(0, 0.02))
        is_pruned = number % 10 == 9
        count = 2 if is_pruned else EPOCHS
        config = {**stage.optuna_trials[0].user_attrs[names.CONFIG], **params, "epochs": EPOCHS}
        trial = create_trial(
            state=_state(is_pruned), value=None if is_pruned else value, params=params,
            distributions={**space, "activation": options},
            user_attrs={names.CONFIG: config, names.DURATION_S: 1.0, names.PARAMETERS: 1000},
        )  # fmt: skip
        trial.number = number
        trials.append(trial)
        started = datetime(2026, 1, 1) + timedelta(seconds=number)
        rows.append(
            {
                **stage.trials.iloc[0].to_dict(), "state": "pruned" if is_pruned else "complete", "value": value,
                "epochs": count, "epochs_planned": EPOCHS, "duration_s": 1.0, "started_at": pd.Timestamp(started),
            }
        )  # fmt: skip
        one = stage.epochs.iloc[0].to_dict()
        epochs += [
            {**one, "trial": number, "epoch": epoch, "val_accuracy": value - 0.1 / epoch}
            for epoch in range(1, count + 1)
        ]
    index = pd.Index(range(TRIALS), name="trial")
    best = max((trial for trial in trials if trial.value is not None), key=lambda trial: trial.value or 0.0)
    return replace(
        stage,
        optuna_trials=tuple(trials),
        trials=pd.DataFrame(rows, index=index),
        params=pd.DataFrame([trial.params for trial in trials], index=index, columns=names_of, dtype=object),
        epochs=pd.DataFrame(epochs),
        snapshot=replace(stage.snapshot, planned=TRIALS, best=best.value, best_trial=best.number),
    )


def _state(is_pruned: bool) -> object:
    from optuna.trial import TrialState

    return TrialState.PRUNED if is_pruned else TrialState.COMPLETE


def large_facts(facts: StudyFacts) -> StudyFacts:
    classes = tuple(f"class {number}" for number in range(CLASSES))
    noise = np.random.default_rng(0)
    truth = np.arange(10 * CLASSES) % CLASSES
    predicted = np.where(noise.random(len(truth)) < 0.7, truth, noise.integers(0, CLASSES, len(truth)))
    look = facts.looks[-1]
    assert look.result is not None
    result = replace(look.result, **vars(score(truth, predicted, classes)), classes=classes)
    counts = {name: {label: int(n) for label, n in zip(classes, noise.integers(5, 50, CLASSES), strict=True)}
              for name in ("train", "val")}  # fmt: skip
    data = replace(facts.record.data, classes=classes, label_distribution=counts)
    return replace(
        facts,
        record=replace(facts.record, data=data),
        stages=(large_stage(facts.stages[0]),),
        looks=(replace(look, result=result),),
    )


@pytest.mark.slow
def test_a_large_report_is_made_and_drawn(
    made: MadeStudy, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    facts = large_facts(made.facts())
    started_s = time.process_time()
    html = render(facts, []).html
    spent_s = time.process_time() - started_s
    path = tmp_path / "large.html"
    path.write_text(html, "utf-8")
    print(f"{TRIALS} trials: {spent_s:.0f} s, {len(html) / 1e6:.1f} MB")
    assert spent_s < MAX_S and len(html) < MAX_BYTES
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("needs chromium")
    with Browser(executable, tmp_path_factory.mktemp("profile")) as browser:
        browser.show(path.as_uri(), width=1280)
        assert browser.evaluate(
            "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))"
        )
        assert not [event for event in browser.events if event["method"] == "Runtime.exceptionThrown"]
