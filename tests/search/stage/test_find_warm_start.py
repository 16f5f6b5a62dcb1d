from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from models.config import BackboneConfig, TrainConfig
from models.values import to_flat, with_values
from search import names
from search.stage.describe import check_unchanged, describe_study
from search.stage.pinning import pin_search
from search.stage.warm_start import find_warm_start
from search.store.claims import Result, claim_next, finish
from search.store.processes import process_name
from search.store.records import StageRecord, create_study, pin_stage, read_study
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.store.warm_start_record import WarmStart
from search.supervisor.stage_queue import fill_queue
from studies.definition import Stage, Study, choice, when
from tests.search.conftest import CONFIG, tiny


def earlier(storage: Storage, *stages: Sequence[tuple[float, dict[str, Any]]], config: TrainConfig = CONFIG) -> None:
    """A study whose trials came to these values with these fields, stage by stage."""
    create_study(storage, "earlier", definition=StudyDefinition(), data=StudyData())
    for position, outcomes in enumerate(stages):
        stage = Stage(
            name=f"s{position}", trials=len(outcomes), epochs=1, space={"dropout": FloatDistribution(0.0, 0.1)}
        )
        study = Study(name="earlier", description="", config=config, stages=(stage,))
        pinned = pin_search(study, 0, stage, [config])
        record = StageRecord(
            study="earlier", position=position, name=stage.name, state="closed", opened_at=0.0, deadline=None,
            optuna_study=names.optuna_study("earlier", position, stage.name), pinned=pinned,
        )  # fmt: skip
        pin_stage(storage, record)
        fill_queue(storage, record)
        for value, fields in outcomes:
            claim = claim_next(storage, record.optuna_study, process_name())
            assert claim is not None
            told = {names.CONFIG: to_flat(with_values(config, fields))}
            finish(storage, claim, Result(outcome="complete", value=value, attributes=told))


def started(storage: Storage, *, trials: int = 12, config: TrainConfig = CONFIG, **space: Any) -> WarmStart:
    stage = Stage(name="one", trials=trials, epochs=1, space=space)
    study = Study(name="new", description="", config=config, stages=(stage,), warm_start="earlier")
    return find_warm_start(storage, study)


def test_a_warm_start_takes_the_best_of_the_last_stage_before_earlier_stages(sqlite: Storage) -> None:
    earlier(
        sqlite,
        [(0.99, {"filters": 16, "dropout": 0.3}), (0.5, {"filters": 32, "dropout": 0.3})],
        [(0.6, {"filters": 8, "dropout": 0.1}), (0.7, {"filters": 8, "dropout": 0.2})],
    )
    warm = started(sqlite, filters=choice(4, 8, 16, 32), trials=12)
    assert [(one.trial, one.value, one.parameters) for one in warm.taken] == [
        ("earlier/2-s1 #1", 0.7, {"filters": 8}),  # The other of this stage would be the same trial here.
        ("earlier/1-s0 #0", 0.99, {"filters": 16}),
        ("earlier/1-s0 #1", 0.5, {"filters": 32}),
    ]


def test_a_warm_start_uses_at_most_a_quarter_of_the_budget(sqlite: Storage) -> None:
    earlier(sqlite, [(0.5 + dropout, {"dropout": dropout}) for dropout in (0.1, 0.2, 0.3, 0.4)])
    warm = started(sqlite, dropout=FloatDistribution(0, 0.5), trials=8)
    assert [one.parameters["dropout"] for one in warm.taken] == [0.4, 0.3]

    stage = Stage(name="one", trials=8, epochs=1, space={"dropout": FloatDistribution(0, 0.5)})
    pinned = pin_search(tiny(), 0, stage, [CONFIG], [one.parameters for one in warm.taken])
    assert pinned.trials == 8
    assert pinned.queue == ({"dropout": 0.0}, {"dropout": 0.4}, {"dropout": 0.3}, *({},) * 5)


@pytest.mark.parametrize(
    ("distribution", "value"),
    [
        (FloatDistribution(1e-4, 1e-3, log=True), 1e-3),
        (FloatDistribution(0.0005, 0.0015, step=0.0005), 0.0015),
        (FloatDistribution(0.006, 0.01), 0.006),
        (FloatDistribution(0.001, 0.01), 0.005),
    ],
)
def test_a_value_outside_the_new_range_is_moved_to_its_end(
    sqlite: Storage, distribution: BaseDistribution, value: float
) -> None:
    earlier(sqlite, [(0.9, {"learning_rate": 0.005})])
    (taken,) = started(sqlite, learning_rate=distribution).taken
    assert taken.parameters == {"learning_rate": value}
    assert taken.moved == (() if value == 0.005 else ("learning_rate",))


def test_a_value_between_two_steps_is_moved_to_the_nearer_one(sqlite: Storage) -> None:
    earlier(sqlite, [(0.9, {"batch_size": 200})])
    (taken,) = started(sqlite, batch_size=IntDistribution(64, 320, step=64)).taken
    assert taken.parameters == {"batch_size": 192}


def test_a_configuration_with_a_choice_outside_the_space_is_skipped_with_the_reason(sqlite: Storage) -> None:
    earlier(sqlite, [(0.9, {"activation": "mish"}), (0.8, {"activation": "gelu"})])
    warm = started(sqlite, activation=choice("relu", "gelu"))
    assert [one.trial for one in warm.taken] == ["earlier/1-s0 #1"]
    assert warm.skipped == ("earlier/1-s0 #0: activation mish is not one of relu, gelu",)
    assert "  skipped earlier/1-s0 #0: activation mish is not one of relu, gelu" in warm.lines()


def test_a_parameter_is_taken_over_only_where_its_condition_holds(sqlite: Storage) -> None:
    earlier(
        sqlite, [(0.9, {"scheduler": "step", "step_gamma": 0.3}), (0.8, {"scheduler": "cosine", "step_gamma": 0.3})]
    )
    gamma = when(FloatDistribution(0.1, 0.5), scheduler="step")
    warm = started(sqlite, scheduler=choice("constant", "cosine", "step"), step_gamma=gamma)
    assert [one.parameters for one in warm.taken] == [{"scheduler": "step", "step_gamma": 0.3}, {"scheduler": "cosine"}]


def test_a_warm_start_without_usable_trials_is_refused_with_the_reason(sqlite: Storage) -> None:
    space = {"filters": choice(4, 8)}
    with pytest.raises(UserError, match="no study 'earlier'"):
        started(sqlite, **space)
    earlier(sqlite, [(0.9, {})], config=BackboneConfig(image_size=32))
    with pytest.raises(UserError, match=r"none of its trials fits .* new/one \(earlier/1-s0 #0: it has no filters\)"):
        started(sqlite, **space)
    grid = replace(tiny(sampler="grid", space={"dropout": choice(0.0, 0.1)}), warm_start="earlier")
    with pytest.raises(UserError, match="is a grid"):
        find_warm_start(sqlite, grid)
    with pytest.raises(UserError, match="cannot start from itself"):
        find_warm_start(sqlite, replace(tiny(), warm_start="tiny"))


def test_a_study_goes_on_only_with_the_warm_start_it_began_with(sqlite: Storage) -> None:
    earlier(sqlite, [(0.9, {"dropout": 0.1})])
    study = replace(tiny(), warm_start="earlier")
    definition = replace(describe_study(study), warm_start=find_warm_start(sqlite, study))
    create_study(sqlite, study.name, definition=definition, data=StudyData())
    record = read_study(sqlite, study.name)
    assert record is not None
    check_unchanged(record, describe_study(study), StudyData())
    with pytest.raises(UserError, match=r"warm_start\.study was earlier, is other"):
        check_unchanged(record, describe_study(replace(study, warm_start="other")), StudyData())
    with pytest.raises(UserError, match=r"warm_start was .* is absent"):
        check_unchanged(record, describe_study(tiny()), StudyData())
