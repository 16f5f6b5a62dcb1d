"""A study whose runs each hold out another fold, and whose champion is then trained on all images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search.report.facts import StudyFacts
from search.report.figures.outcome import finalists
from search.report.metric import study_metric
from search.report.model_card import model_card
from search.report.page import gather, render
from tests.search.report.conftest import MadeStudy


@pytest.fixture
def on_folds(made: MadeStudy) -> StudyFacts:
    facts = made.facts()
    stage, champion = facts.confirmation, facts.record.champion
    assert stage is not None and champion is not None
    return replace(
        facts,
        record=replace(facts.record, champion=replace(champion, refit_images=1000)),
        confirmation=replace(stage, pinned=replace(stage.pinned, folds=3)),
    )


def test_the_first_screen_names_the_folds_their_overlap_and_the_training_on_all_images(on_folds: StudyFacts) -> None:
    detail = gather(on_folds, rank=lambda trials: []).figures[0].detail
    assert "each on a fresh seed and another of 3 folds, over about 200 validation images" in detail
    assert "somewhat too narrow" in detail
    assert "the registered classifier was trained anew on all 1,000 images" in detail


def test_before_the_confirmation_the_value_of_a_trial_is_a_mean_over_folds(unfinished: MadeStudy) -> None:
    facts = unfinished.facts()
    data = replace(facts.record.data, spec=replace(facts.record.data.spec, folds=5))
    record = replace(facts.record, data=data)
    on_folds = replace(facts, record=record, metric=study_metric(record))
    page = " ".join(render(on_folds, [], rank=lambda trials: []).html.split())
    assert "the mean over 5 folds of about 200 validation images each; not confirmed yet" in page
    assert "single run" not in page


def test_the_figure_of_the_finalists_names_the_overlap_of_the_folds(made: MadeStudy, on_folds: StudyFacts) -> None:
    caption = finalists(on_folds).caption
    assert "fresh seeds, each seed on another of 3 folds, so" in caption and "Nadeau and Bengio 2003" in caption
    assert "fold" not in finalists(made.facts()).caption


def test_the_model_card_does_not_give_the_new_weights_the_accuracy_of_a_fold(on_folds: StudyFacts) -> None:
    champion = on_folds.record.champion
    assert champion is not None
    card = " ".join(model_card(on_folds.record, champion).split())
    assert "mean of 3 runs (" in card and "This version was trained anew on all 1,000 images" in card
    assert "the best of these runs" not in card
    before = " ".join(model_card(on_folds.record, replace(champion, refit_images=None)).split())
    assert "mean of 3 seeds (" in before and "the weights of the best of these runs" in before
