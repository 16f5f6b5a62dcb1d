"""kill -9 while a backbone's features are extracted: the same command continues, and half a shard is not used."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import psutil
import pytest

from tests.acceptance.service import STUDY_FILES, Running, Service, wait_for

pytestmark = pytest.mark.slow

COMMAND = ("search.run", "--study", str(STUDY_FILES / "probed.py"), "--workers", "1", "--json")


def _features(service: Service) -> dict[str, str]:
    """The hash of every array in the feature store, by its key."""
    files = (service.home / "features").glob("*/values.npy")
    return {path.parent.name: sha256(path.read_bytes()).hexdigest() for path in files}


def _stopped_in_mid_shard(service: Service) -> Running:
    running = service.start(*COMMAND, fault="mid_shard")
    wait_for((service.home / "mid-shard").exists, "a shard that is half written")
    return running


def test_a_search_that_was_killed_while_it_extracted_features_ends_like_an_undisturbed_one(
    new_service: Callable[[], Service],
) -> None:
    killed, undisturbed = new_service(), new_service()
    running = _stopped_in_mid_shard(killed)
    running.kill()
    for process in killed.processes():
        process.kill()
        psutil.wait_procs([process], timeout=10)
    assert not list(Path(killed.home / "features").glob("*/complete.json"))
    half_written = _features(killed)

    both = killed.start(*COMMAND), undisturbed.start(*COMMAND)
    result, expected = (command.wait().json() for command in both)

    assert _features(killed) == _features(undisturbed)
    assert half_written.items().isdisjoint(_features(killed).items()) and half_written.keys() < _features(killed).keys()
    assert killed.result_table() == undisturbed.result_table()
    assert result["champion"] == expected["champion"]
    probe = result["stages"][0]
    assert (probe["complete"], probe["failed"], probe["infeasible"]) == (2, 0, 0)
