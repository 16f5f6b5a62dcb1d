"""`--launcher ray` on a real cluster of two nodes, one of which goes away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from data.errors import UserError
from search.supervisor import prepare
from tests.acceptance.service import ROOT, STUDY_FILES, Service, wait_for

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

NODE = {
    "num_cpus": 1,
    "num_gpus": 0,
    "include_dashboard": False,
    "object_store_memory": 80 * 2**20,
    "node_ip_address": "127.0.0.2",  # Ray takes 127.0.0.1 for the machine's address on the network.
}

SETTLE_S = 1.0
"""The database may still carry out what a worker sent just before it was suspended, such as a trial's result."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head node with room for one worker on a CPU."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # What runs on the nodes imports Sieve from here.
    started = Cluster(initialize_head=True, head_node_args={**NODE, "num_gpus": 1})
    monkeypatch.setenv("RAY_ADDRESS", started.address)
    yield started
    started.shutdown()


@pytest.fixture
def service(tmp_path: Path, postgres_url: str) -> Iterator[Service]:
    """On a database that other machines could reach."""
    made = Service(tmp_path, postgres_url)
    yield made
    made.end()


def _workers_below(raylet: psutil.Process) -> list[psutil.Process]:
    found = []
    for process in raylet.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # It has ended since.
            if "search.worker" in process.cmdline():
                found.append(process)
    return found


def _trial_on(service: Service, raylet: psutil.Process) -> int | None:
    """A trial that a worker of this node trains, at least an epoch far."""
    pids = [str(process.pid) for process in _workers_below(raylet)]
    for lease in service.query("SELECT trial_id, owner FROM sieve_lease"):
        if lease.owner.split(":")[1] in pids and service.epochs(lease.trial_id):
            return int(lease.trial_id)
    return None


def _suspended_trial_on(service: Service, raylet: psutil.Process) -> int | None:
    """The trial of a node whose workers are suspended in it: a machine that goes away reports nothing more.

    Between two trials they go on.
    """
    if _trial_on(service, raylet) is None:
        return None
    workers = _workers_below(raylet)
    for worker in workers:
        worker.suspend()
    time.sleep(SETTLE_S)
    trial = _trial_on(service, raylet)  # The trial that was seen before may have ended since.
    if trial is None:
        for worker in workers:
            worker.resume()
    return trial


def _add_node(cluster: Cluster) -> tuple[object, psutil.Process]:
    node = cluster.add_node(**NODE)
    return node, psutil.Process(node.all_processes["raylet"][0].process.pid)


@pytest.mark.slow
def test_a_search_outlasts_the_loss_of_a_node_and_uses_the_one_that_comes(service: Service, cluster: Cluster) -> None:
    node, raylet = _add_node(cluster)
    running = service.start(
        "search.run", "--study", str(STUDY_FILES / "steady.py"), "--launcher", "ray", "--devices", "cpu", "--json"
    )
    lost = wait_for(lambda: _suspended_trial_on(service, raylet), "a trial on the second node", timeout_s=120)
    for worker in _workers_below(raylet):  # First: a worker whose parent is gone would give its trial back.
        worker.kill()
    cluster.remove_node(node, allow_graceful=False)
    _, raylet = _add_node(cluster)
    wait_for(lambda: _trial_on(service, raylet), "a trial on the node that came", timeout_s=120)

    ended = running.wait()

    result = ended.json()
    assert [(stage["name"], stage["complete"]) for stage in result["stages"]] == [("random", 12), ("confirm", 1)]
    assert service.attribute(lost, "losses") == 1
    for trial in service.trials("steady/1-random"):
        assert service.epochs(trial.trial_id) == list(range(1, 301))
    assert service.query("SELECT * FROM sieve_lease") == []
    wait_for(lambda: service.processes("search.worker") == [], "the workers to be gone", timeout_s=60)


@pytest.mark.slow
def test_ctrl_c_ends_workers_on_a_cluster_in_order(service: Service, cluster: Cluster) -> None:
    running = service.start(
        "search.run", "--study", str(STUDY_FILES / "steady.py"), "--launcher", "ray", "--devices", "cpu",
        "--workers", "2", "--json",
    )  # fmt: skip
    wait_for(lambda: service.running_trial("steady/1-random"), "a running trial; the second worker waits for room")

    running.interrupt()

    assert running.wait(timeout_s=60).code == 130
    assert "Traceback" not in running.err
    states = service.states("steady/1-random")
    assert states["RUNNING"] == 0 and states["COMPLETE"] >= 1 and states["WAITING"] >= 1
    assert service.query("SELECT * FROM sieve_lease") == []
    assert service.processes("search.worker") == []


@pytest.mark.slow
def test_a_worker_takes_a_part_of_a_gpu_where_the_cluster_has_one(cluster: Cluster) -> None:
    share, room = prepare.open_cluster("auto", 0.5)
    assert (share.gpus, room) == (0.5, 1)  # The cluster has a GPU, but a single CPU.
    cluster.add_node(**NODE)
    assert prepare.open_cluster("auto", 0.5)[1] == 2
    assert prepare.open_cluster("cpu", 0.5)[0].gpus == 0
    with pytest.raises(UserError, match="--devices cuda:0"):
        prepare.open_cluster("cuda:0", 0.5)
