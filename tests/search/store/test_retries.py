"""Calls to a database that is away: repeated by the store's functions themselves, once, for as long as asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from data.errors import LeaseLost, SealBroken, StorageAway
from search.store import claims, history, locks, reaping, records, seal, trial_counts
from search.store.claims import Claim, Result
from search.store.look_result import LookResult
from search.store.processes import process_name
from search.store.retries import first_line, repeat_in_outage
from search.store.storage import Storage, open_storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from tests.search.conftest import OpenStage, open_stage

STAGE = "tiny/1-one"


def outage(statement: str = "SELECT 1") -> OperationalError:
    return OperationalError(statement, {}, Exception("connection refused\nIs the server running?"))


class AnswerLost:
    """An engine whose first transaction is committed and then raises, as when a connection breaks at its end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.lost = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection
        if not self.lost:
            self.lost += 1
            raise outage("COMMIT")


def losing_an_answer(storage: Storage) -> Storage:
    return replace(storage, engine=AnswerLost(storage.engine))  # type: ignore[arg-type]


@contextmanager
def away_once(engine: Engine) -> Iterator[list[int]]:
    """The first transaction fails when it begins. Yields a list that is empty until then."""
    failed: list[int] = []

    def fail(connection: Connection) -> None:
        if not failed:
            failed.append(1)
            raise outage()

    event.listen(engine, "begin", fail)
    try:
        yield failed
    finally:
        event.remove(engine, "begin", fail)


@pytest.fixture
def stage(storage: Storage) -> OpenStage:
    records.create_study(storage, "tiny", definition=StudyDefinition(), data=StudyData())
    return open_stage(storage)


WORKER = records.WorkerRecord(name="host-1:1:1", study="tiny", device="cpu", doing="waiting", seen_at=1.0)
CALLS: dict[str, Callable[[Storage, OpenStage, Claim], object]] = {
    "read_study": lambda storage, stage, claim: records.read_study(storage, "tiny"),
    "study_names": lambda storage, stage, claim: records.study_names(storage),
    "create_study": lambda storage, stage, claim: records.create_study(
        storage, "other", definition=StudyDefinition(), data=StudyData()
    ),
    "update_study": lambda storage, stage, claim: records.update_study(storage, "tiny", state="done"),
    "read_stages": lambda storage, stage, claim: records.read_stages(storage, "tiny"),
    "pin_stage": lambda storage, stage, claim: records.pin_stage(storage, replace(stage.record, position=1)),
    "update_stage": lambda storage, stage, claim: records.update_stage(storage, stage.record, state="closed"),
    "add_epochs": lambda storage, stage, claim: records.add_epochs(
        storage, [records.EpochRecord(trial_id=claim.trial_id, epoch=1, metrics={}, value=0.5)]
    ),
    "read_epochs": lambda storage, stage, claim: records.read_epochs(storage, claim.trial_id),
    "show_worker": lambda storage, stage, claim: records.show_worker(storage, WORKER),
    "forget_worker": lambda storage, stage, claim: records.forget_worker(storage, WORKER.name),
    "read_workers": lambda storage, stage, claim: records.read_workers(storage, "tiny"),
    "claim_next": lambda storage, stage, claim: claims.claim_next(storage, STAGE, process_name()),
    "renew": lambda storage, stage, claim: claims.renew(storage, claim),
    "release": lambda storage, stage, claim: claims.release(storage, claim),
    "finish": lambda storage, stage, claim: claims.finish(storage, claim, Result(outcome="complete", value=0.5)),
    "reap": lambda storage, stage, claim: reaping.reap(storage, [STAGE]),
    "supervising": lambda storage, stage, claim: locks.supervising(storage, "tiny").__enter__(),
    "is_supervised": lambda storage, stage, claim: locks.is_supervised(storage, "tiny"),
    "open_look": lambda storage, stage, claim: seal.open_look(storage, "tiny", by="a@b", model_uri="m", reason=None),
    "close_look": lambda storage, stage, claim: seal.close_look(storage, "tiny", 1, LookResult(accuracy=0.5)),
    "looks": lambda storage, stage, claim: seal.looks(storage, "tiny"),
    "add_command": lambda storage, stage, claim: history.add_command(storage, "tiny", "run"),
    "read_commands": lambda storage, stage, claim: history.read_commands(storage, "tiny"),
    "tally": lambda storage, stage, claim: trial_counts.tally(storage, [STAGE], maximize=True),
    "epochs_per_s": lambda storage, stage, claim: trial_counts.epochs_per_s(storage, [STAGE]),
    "open_trial": lambda storage, stage, claim: storage.open_trial(storage.load_study(STAGE), claim.trial_id),
    "fill_queue": lambda storage, stage, claim: storage.trials.fill_queue(1, [{}] * 5),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_that_finds_the_database_away_is_repeated(
    stage: OpenStage, call: Callable[[Storage, OpenStage, Claim], object]
) -> None:
    claim = stage.claim()
    with away_once(stage.storage.engine) as failed:
        call(stage.storage, stage, claim)
    assert failed


def test_a_caller_that_cannot_wait_gets_the_outage_at_once(stage: OpenStage) -> None:
    impatient = stage.storage.without_retries
    with away_once(stage.storage.engine), pytest.raises(StorageAway, match="connection refused"):
        records.read_study(impatient, "tiny")
    opened = open_storage(stage.storage.url, create=False, outage_s=0)
    with away_once(opened.engine), pytest.raises(StorageAway):
        opened.load_study(STAGE).get_trials()
    opened.close()


def test_an_outage_that_lasts_is_one_line_and_is_waited_for_once(sqlite: Storage) -> None:
    def down(connection: Connection) -> None:
        raise StorageInternalError("Optuna's error") from outage()

    event.listen(sqlite.engine, "begin", down)
    patient = replace(sqlite, outage_s=0.5)
    began = time.monotonic()
    with pytest.raises(StorageAway, match=r"^the database does not answer: connection refused; [^\n]*$"):
        reaping.reap(patient, [STAGE])  # It calls other functions that are repeated.
    assert time.monotonic() - began < 5
    event.remove(sqlite.engine, "begin", down)


def test_other_errors_pass_at_once() -> None:
    calls = []

    def wrong() -> None:
        calls.append(1)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        repeat_in_outage(wrong, 60)
    assert len(calls) == 1


def test_a_study_whose_row_was_written_by_a_lost_call_is_this_calls_study(storage: Storage) -> None:
    assert records.create_study(losing_an_answer(storage), "mine", definition=StudyDefinition(), data=StudyData())
    assert not records.create_study(losing_an_answer(storage), "mine", definition=StudyDefinition(), data=StudyData())


def test_a_stage_whose_row_was_written_by_a_lost_call_is_pinned(stage: OpenStage) -> None:
    second = replace(stage.record, position=1)
    records.pin_stage(losing_an_answer(stage.storage), second)
    assert [record.position for record in records.read_stages(stage.storage, "tiny")] == [0, 1]


def test_a_command_whose_row_was_written_by_a_lost_call_is_recorded_once(storage: Storage) -> None:
    history.add_command(losing_an_answer(storage), "mine", "run")
    assert len(history.read_commands(storage, "mine")) == 1


def test_a_look_whose_row_was_written_by_a_lost_call_is_the_first_and_only_one(storage: Storage) -> None:
    number = seal.open_look(losing_an_answer(storage), "mine", by="ann@lab", model_uri="models:/mine/1", reason=None)
    assert number == 1 and len(seal.looks(storage, "mine")) == 1
    with pytest.raises(SealBroken):
        seal.open_look(storage, "mine", by="ann@lab", model_uri="models:/mine/1", reason=None)


def test_a_lock_whose_row_was_written_by_a_lost_call_is_held(storage: Storage) -> None:
    with locks.supervising(losing_an_answer(storage), "mine") as confirm_lock:
        confirm_lock()


def test_a_trial_that_a_lost_call_claimed_is_the_one_that_is_returned(stage: OpenStage) -> None:
    claimed = claims.claim_next(losing_an_answer(stage.storage), STAGE, process_name())
    assert claimed is not None and claimed.number == 0
    assert stage.claim().number == 1


def test_a_result_that_a_lost_call_recorded_is_recorded_once(stage: OpenStage) -> None:
    claim = stage.claim()
    epoch = records.EpochRecord(trial_id=claim.trial_id, epoch=1, metrics={"val_accuracy": 0.5}, value=0.5)
    result = Result(outcome="complete", value=0.5, attributes={"worker": claim.owner}, epochs=[epoch])
    claims.finish(losing_an_answer(stage.storage), claim, result)
    trial = stage.storage.optuna.get_trial(claim.trial_id)
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.5, {1: 0.5})
    assert len(records.read_epochs(stage.storage, claim.trial_id)) == 1


def test_a_result_is_discarded_if_the_trial_was_lost_in_an_outage(stage: OpenStage) -> None:
    claim = stage.claim()
    claims.release(stage.storage, claim)
    claims.finish(stage.storage, stage.claim(), Result(outcome="complete", value=0.1, attributes={"worker": "other"}))
    result = Result(outcome="complete", value=0.5, attributes={"worker": claim.owner})
    with pytest.raises(LeaseLost):
        claims.finish(losing_an_answer(stage.storage), claim, result)
    assert stage.storage.optuna.get_trial(claim.trial_id).value == 0.1


def test_a_trial_whose_lease_was_deleted_by_a_lost_call_waits_again(stage: OpenStage) -> None:
    claim = stage.claim()
    claims.release(losing_an_answer(stage.storage), claim)
    assert stage.storage.optuna.get_trial(claim.trial_id).state == TrialState.WAITING
    assert stage.claim().trial_id == claim.trial_id


def test_a_queue_that_a_lost_call_filled_is_not_filled_again(stage: OpenStage, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = AnswerLost(stage.storage.engine)
    monkeypatch.setattr(stage.storage.optuna, "engine", engine)
    stage.storage.trials.fill_queue(1, [{}] * 5)
    assert engine.lost == 1
    assert len(stage.storage.load_study(STAGE).get_trials()) == 5


def test_a_server_that_goes_between_two_statements_of_optuna_is_an_outage(postgres_url: str) -> None:
    storage = open_storage(postgres_url, create=True)
    optuna.create_study(storage=storage.trials, study_name="s").add_trial(optuna.trial.create_trial(value=1.0))
    study = storage.load_study("s")
    ended = []  # type: ignore[var-annotated]

    @event.listens_for(storage.reader, "before_cursor_execute")
    def end_once(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        if "trial_values" in statement and not ended:
            ended.append(connection.connection.driver_connection.info.backend_pid)  # type: ignore[union-attr]
            with create_engine(postgres_url, poolclass=NullPool).begin() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": ended[0]})

    assert [trial.value for trial in study.get_trials()] == [1.0] and len(ended) == 1
    storage.close()


def test_an_error_without_a_message_is_named_by_its_type() -> None:
    assert first_line(OperationalError("select 1", None, ConnectionResetError())) == "ConnectionResetError"
    assert first_line(OperationalError("select 1", None, ConnectionResetError("gone\nfor good"))) == "gone"
