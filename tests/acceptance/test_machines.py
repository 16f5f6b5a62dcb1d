"""Workers on machines of their own: other homes, one database, one place for checkpoints and classifiers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.checks import assert_exactly_as_planned
from tests.acceptance.service import STUDY_FILES, Service, wait_for

pytestmark = pytest.mark.slow

TINY = ("--study", str(STUDY_FILES / "tiny.py"), "--workers", "0", "--json")


def test_a_worker_elsewhere_takes_over_from_one_that_is_gone_and_the_champion_is_found(
    service: Service, tmp_path: Path
) -> None:
    shared = ("--artifacts", (tmp_path / "shared").as_uri())
    supervisor = service.start("search.run", *TINY, *shared)
    wait_for(lambda: service.states("tiny/1-random"), "the first stage's queue")
    worker = ("search.worker", "--study", "tiny", *shared, "--home")
    first = service.start(*worker, str(tmp_path / "first"), fault="slow_epochs")
    trial = wait_for(lambda: service.running_trial("tiny/2-median", epochs=2), "a trial in its third epoch")
    first.kill()
    checkpoints = [path.parent.name for path in (tmp_path / "shared").rglob("*checkpoint.pt")]
    second = service.start(*worker, str(tmp_path / "second"))

    result = supervisor.wait().json()

    assert second.wait().code == 0
    assert checkpoints == [f"median-{trial.number}"]
    assert service.attribute(trial.trial_id, "losses") == 1
    assert result["champion"]["model_uri"] == "models:/tiny/1"
    assert_exactly_as_planned(service)
    assert not list(tmp_path.rglob("*checkpoint.pt"))
    assert not list((tmp_path / "first").rglob("classifier.json"))
