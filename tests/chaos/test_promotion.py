"""Promotion that is killed at each of its steps, and promoters that race: the champion always exists and is whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from data.files import hash_folder
from search import names
from search.settings import Settings
from search.tracking.client import connect
from search.tracking.model_registry import register_champion
from search.tracking.tags import CONTENT_HASH
from tests.acceptance.forks import Fault, Finished, Forked, run_on
from tests.acceptance.service import STUDY_FILES, Service
from tests.chaos.champions import check_champion, tracking_only
from tests.chaos.conftest import Print
from tests.chaos.kills import HoldAt, KillAt
from tests.chaos.patience import patiently
from tests.forkserver import FORKS

TINY = str(STUDY_FILES / "tiny.py")
PROMOTERS = 3
CLIENT = "mlflow.tracking.client:MlflowClient"
STEPS = [
    KillAt(target="search.tracking.model_registry:log_bundle", when="before"),
    KillAt(target="search.tracking.model_registry:log_bundle", when="after", call=2),
    KillAt(target="search.tracking.model_registry:_upload", when="before"),
    KillAt(target="search.tracking.model_registry:_download", when="before"),
    KillAt(target=f"{CLIENT}.create_model_version", when="before"),
    KillAt(target=f"{CLIENT}.create_model_version", when="after"),
    KillAt(target=f"{CLIENT}.set_registered_model_alias", when="before"),
    KillAt(target=f"{CLIENT}.set_registered_model_alias", when="after"),
    KillAt(target="search.trials.working_files:remove_leftovers", when="before"),
    KillAt(target="search.trials.working_files:remove_leftovers", when="after"),
]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A search that is done but for its promotion."""
    service = Service(tmp_path_factory.mktemp("searched"))
    ended = run_on(service, "search.run", "--study", TINY, "--workers", "2", "--tracking", "http://127.0.0.1:9")
    assert ended.code == 1, ended.err
    yield service
    service.end()


def promote(service: Service, folder: Path, fault: Fault | None = None) -> Forked:
    arguments = ["--study", TINY, "--home", str(service.home), "--workers", "0", "--json"]
    return Forked("search.run", arguments, folder, fault)


def register_older(tracking_url: str, artifacts: Path, bundle: Path) -> str:
    """A champion from before, under the study's name; its version."""
    client = connect(tracking_url)
    run = client.create_run(client.create_experiment("older", artifact_location=artifacts.as_uri()))
    registered = register_champion(
        tracking_only(tracking_url), "tiny", bundle, run_id=run.info.run_id, metrics={}, description=""
    )
    return registered.version


def test_killed_at_each_step_the_champion_loads_and_the_next_run_promotes(
    searched: Service, bundle: Path, tmp_path: Path, figures: Print
) -> None:
    tracking_url = f"sqlite:///{searched.home / names.TRACKING_FILE}"
    older = register_older(tracking_url, searched.home / "older", bundle)
    champions = []
    for number, step in enumerate(STEPS):
        killed = promote(searched, tmp_path / f"run-{number}", step).wait()
        assert killed.code == -9, f"{step}: {killed.err}"
        champions.append(check_champion(tracking_url, "tiny", tmp_path))

    promoters = [promote(searched, tmp_path / f"promoter-{number}") for number in range(PROMOTERS)]
    ended = [promoter.wait() for promoter in promoters]

    assert "Traceback" not in "".join(promoter.err for promoter in ended)
    promoted: list[Finished] = [promoter for promoter in ended if promoter.code == 0]
    assert promoted and all("already being run" in promoter.err for promoter in ended if promoter.code != 0)
    newer = check_champion(tracking_url, "tiny", tmp_path)
    assert {promoter.json()["champion"]["model_uri"] for promoter in promoted} == {f"models:/tiny/{newer}"}
    assert champions == [older] * 7 + [newer] * 3
    contents = [found.tags[CONTENT_HASH] for found in connect(tracking_url).search_model_versions("name = 'tiny'")]
    assert len(contents) == len(set(contents)) == 2
    figures(f"killed at {len(STEPS)} steps, then {PROMOTERS} promoters: the champion loaded each time, 1 new version")


def _register(settings: Settings, bundle: Path, run_id: str, hold: HoldAt) -> None:
    hold()
    register_champion(settings, "partA", bundle, run_id=run_id, metrics={}, description="")


def _ended(racers: Sequence[BaseProcess]) -> int:
    return sum(not racer.is_alive() for racer in racers)


def test_promoters_that_no_lock_holds_apart_leave_a_champion_that_is_whole(
    finished: Settings, bundle: Path, tmp_path: Path
) -> None:
    client = connect(finished.tracking_url)
    experiment = client.create_experiment("another", artifact_location=(tmp_path / "another").as_uri())
    run_id = client.create_run(experiment).info.run_id
    hold = HoldAt(target=f"{CLIENT}.create_model_version", gate=tmp_path / "gate")
    settings = replace(finished, artifact_location=None)
    racers = [FORKS.Process(target=_register, args=(settings, bundle, run_id, hold)) for _ in range(PROMOTERS)]
    for racer in racers:
        racer.start()
    patiently(lambda: hold.waiting() + _ended(racers) == PROMOTERS, "all promoters to have found no version yet")
    assert _ended(racers) == 0

    hold.open()

    for racer in racers:
        racer.join()
        assert racer.exitcode == 0
    check_champion(finished.tracking_url, "partA", tmp_path)
    hashes = {found.tags[CONTENT_HASH] for found in client.search_model_versions("name = 'partA'")}
    assert hashes == {hash_folder(bundle)}
