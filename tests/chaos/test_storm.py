"""200 trials in a storm, MLflow down all the while: nothing is lost, nothing happens twice, and MLflow catches up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from search.tracking import tags
from search.tracking.client import connect
from tests.acceptance.checks import assert_exactly_as_planned
from tests.acceptance.forks import run_on
from tests.acceptance.service import Service
from tests.chaos.champions import check_champion
from tests.chaos.conftest import Print
from tests.chaos.postgres_server import PostgresServer
from tests.chaos.storm import Storm

STUDY_FILE = Path(__file__).parent / "study_files" / "two_hundred.py"
PLANNED = {"two-hundred/1-wide": 120, "two-hundred/2-near": 76, "two-hundred/confirm": 4}
COMMAND = ("search.run", "--study", str(STUDY_FILE))
NOBODY_ANSWERS = ("--tracking", "http://127.0.0.1:9")

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """A search that went through a storm, and was promoted when MLflow was back."""

    storm: Storm
    result: dict[str, Any]

    @property
    def service(self) -> Service:
        return self.storm.service

    @property
    def tracking_url(self) -> str:
        return f"sqlite:///{self.service.home / 'mlflow.db'}"


def weather(service: Service, blows: Counter[Any], postgres: PostgresServer | None = None) -> Aftermath:
    command = (*COMMAND, "--workers", "2", *NOBODY_ANSWERS)
    storm = Storm(service=service, command=command, trials=200, blows=blows, postgres=postgres)
    last_words = storm.rage()
    assert last_words.splitlines()[-1].startswith("error: MLflow at http://127.0.0.1:9")
    return Aftermath(storm=storm, result=run_on(service, *COMMAND, "--workers", "0", "--json").json())


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    service = Service(tmp_path_factory.mktemp("sqlite"))
    try:
        yield weather(service, Counter(worker=8, supervisor=2))
    finally:
        service.end()


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Aftermath]:
    service = Service(tmp_path_factory.mktemp("postgres"), postgres.url)
    try:
        yield weather(service, Counter(worker=6, supervisor=2, restart=2, outage=1), postgres)
    finally:
        service.end()


@pytest.fixture(params=["sqlite", "postgres"])
def aftermath(request: pytest.FixtureRequest) -> Aftermath:
    found: Aftermath = request.getfixturevalue(f"on_{request.param}")
    return found


def test_no_trial_is_lost_or_done_twice_and_the_budget_is_exact(aftermath: Aftermath, figures: Print) -> None:
    assert_exactly_as_planned(aftermath.service, PLANNED)
    states = Counter(trial.state for trial in aftermath.service.trials())
    assert states == {"COMPLETE": 200}
    losses = sum(aftermath.service.attribute(trial.trial_id, "losses") or 0 for trial in aftermath.service.trials())
    logs = [log.read_text() for log in aftermath.service.home.rglob("worker-*.log")]
    tracebacks = [log[log.index("Traceback") :] for log in logs if "Traceback" in log]
    assert not tracebacks, tracebacks[0]
    figures(f"{aftermath.storm}, {losses} trials lost and retried: 0 lost, 0 twice, 0 left RUNNING")


def test_a_result_recorded_before_a_kill_keeps_its_value(aftermath: Aftermath) -> None:
    after = {trial.trial_id: trial.value for trial in aftermath.service.trials()}

    assert len(aftermath.storm.acknowledged) == 200
    assert aftermath.storm.acknowledged == after


def test_mlflow_has_every_trial_once_and_no_step_is_missing(aftermath: Aftermath, figures: Print) -> None:
    client = connect(aftermath.tracking_url)
    experiment = client.get_experiment_by_name("two-hundred")
    runs = client.search_runs([experiment.experiment_id], f"tags.`{tags.KIND}` = 'trial'", max_results=1000)
    run_of = {int(run.data.tags[tags.TRIAL_ID]): run for run in runs}

    assert len(runs) == len(run_of) == 200
    for trial in aftermath.service.trials():
        run = run_of[trial.trial_id]
        history = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [point.step for point in history][: len(aftermath.service.epochs(trial.trial_id))] == (
            aftermath.service.epochs(trial.trial_id)
        )
        assert run.info.status == "FINISHED"
        assert run.data.metrics["best_val_accuracy"] == trial.value
    figures(f"MLflow down for the whole search, then back: {len(runs)} runs, 0 steps missing")


def test_the_champion_loads_and_is_what_was_registered(aftermath: Aftermath, tmp_path: Path) -> None:
    version = check_champion(aftermath.tracking_url, "two-hundred", tmp_path)

    assert aftermath.result["champion"]["model_uri"] == f"models:/two-hundred/{version}"


def test_the_storm_changed_no_result(on_sqlite: Aftermath, on_postgres: Aftermath) -> None:
    """Two storms that had nothing in common but the study."""
    assert on_sqlite.service.result_table() == on_postgres.service.result_table()
    assert on_sqlite.service.parameters() == on_postgres.service.parameters()
