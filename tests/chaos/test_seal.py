"""Evaluators that race and evaluators that are killed: the test set is never looked at twice, and each look is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import SealBroken
from search.evaluate import evaluate
from search.settings import Settings
from search.store.records import create_study, read_study, update_study
from search.store.seal import Look, looks
from search.store.storage import Storage, open_storage
from tests.acceptance.forks import Fault, Forked
from tests.chaos.conftest import Print
from tests.chaos.kills import HoldAt, KillAt
from tests.chaos.patience import patiently

EVALUATORS = 4


@pytest.fixture
def sealed(finished: Settings, storage: Storage) -> Settings:
    """A finished study whose seal nobody has opened, on a database of each kind."""
    known = open_storage(finished.storage_url, create=False)
    record = read_study(known, "partA")
    known.close()
    assert record is not None and record.champion is not None
    create_study(storage, "partA", definition=record.definition, data=record.data)
    update_study(storage, "partA", champion=record.champion.to_json(), state="done")
    return replace(finished, storage_url=storage.url)


def start(settings: Settings, folder: Path, fault: Fault) -> Forked:
    places = ["--home", str(settings.home), "--storage", settings.storage_url, "--tracking", settings.tracking_url]
    return Forked("search.evaluate", [*places, "--study", "partA", "--json"], folder, fault)


def test_of_racing_evaluators_a_single_one_looks(
    sealed: Settings, storage: Storage, tmp_path: Path, figures: Print
) -> None:
    hold = HoldAt(target="search.store.seal:open_look", gate=tmp_path / "gate")
    evaluators = [start(sealed, tmp_path / str(number), hold) for number in range(EVALUATORS)]
    patiently(lambda: hold.waiting() == EVALUATORS, "all evaluators to be about to look")

    hold.open()

    ended = [evaluator.wait() for evaluator in evaluators]
    assert sorted(done.code for done in ended) == [0] + [1] * (EVALUATORS - 1)
    assert all("has been opened before" in done.err for done in ended if done.code == 1)
    (seen,) = [done.json() for done in ended if done.code == 0]
    (look,) = looks(storage, "partA")
    assert look.number == 1 and look.result is not None and look.result.to_json() == seen
    figures(f"{EVALUATORS} evaluators at once: 1 look")


def _unlooked(taken: list[Look]) -> None:
    assert taken == []


def _attempted(taken: list[Look]) -> None:
    (look,) = taken
    assert look.result is None and "no result: it crashed" in str(look)


def _looked(taken: list[Look]) -> None:
    (look,) = taken
    assert look.result is not None and look.result.look == 1


STEPS: list[tuple[KillAt, Callable[[list[Look]], None]]] = [
    (KillAt(target="search.store.seal:open_look", when="before"), _unlooked),
    (KillAt(target="search.store.seal:open_look", when="after"), _attempted),
    (KillAt(target="data.sealed:open_test_images", when="after"), _attempted),
    (KillAt(target="search.store.seal:close_look", when="before"), _attempted),
    (KillAt(target="search.store.seal:close_look", when="after"), _looked),
]


@pytest.mark.parametrize(("step", "check"), STEPS, ids=[str(step) for step, _ in STEPS])
def test_an_evaluator_killed_at_any_step_never_leads_to_a_second_look(
    sealed: Settings, storage: Storage, tmp_path: Path, step: KillAt, check: Callable[[list[Look]], None]
) -> None:
    killed = start(sealed, tmp_path / "killed", step).wait()
    assert killed.code == -9, killed.err
    before = looks(storage, "partA")
    check(before)

    if before:
        with pytest.raises(SealBroken, match="look 1 on"):
            evaluate(sealed, "partA")
    else:
        assert evaluate(sealed, "partA").look == 1

    assert len(looks(storage, "partA")) == 1
