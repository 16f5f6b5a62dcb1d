"""The recipes for clusters, read by the parsers of bash, YAML and Kubernetes; the Slurm one is run, too."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.main import COMMANDS
from search.settings import add_arguments
from search.supervisor.arguments import add_run_arguments
from tests.acceptance.service import ROOT, Service

SLURM = ROOT / "docs" / "recipes" / "slurm.sh"
KUBERNETES = ROOT / "docs" / "recipes" / "kubernetes.yaml"
OBJECTS: list[dict[str, Any]] = yaml.safe_load(KUBERNETES.read_text())["items"]
JOBS = {entry["metadata"]["name"]: entry["spec"] for entry in OBJECTS if entry["kind"] == "Job"}
SBATCH_OPTIONS = {
    *("array", "constraint", "cpus-per-task", "error", "exclusive", "gpus-per-task", "gres", "job-name", "mem"),
    *("mem-per-cpu", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "partition", "requeue", "signal"),
    "time",
}
"""Long options of sbatch, from its manual."""


def _pod(job: str) -> dict[str, Any]:
    pod: dict[str, Any] = JOBS[job]["template"]["spec"]
    return pod


CONTAINERS = [
    pytest.param(job, container, id=container["name"])
    for job in JOBS
    for container in [*_pod(job).get("initContainers", []), *_pod(job)["containers"]]
]


def test_bash_reads_the_slurm_script() -> None:
    subprocess.run(["bash", "-n", str(SLURM)], check=True)


def test_sbatch_knows_every_option_of_the_slurm_script_and_finds_them_all() -> None:
    lines = SLURM.read_text().splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    read = [re.fullmatch(r"#SBATCH --([a-z-]+)(=\S+)?", line) for line in options]
    assert options and {found and found[1] for found in read} <= SBATCH_OPTIONS
    first_command = next(index for index, line in enumerate(lines) if line and not line.startswith("#"))
    assert lines.index(options[-1]) < first_command  # sbatch stops reading there.


@pytest.mark.slow
def test_the_slurm_script_runs_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srun").write_text('#!/bin/sh\n"$@" & "$@" & wait\n')  # Two tasks.
    (tmp_path / "srun").chmod(0o755)
    service = Service(tmp_path)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("SIEVE_", "MLFLOW_"))},
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "SIEVE_DEVICE": "cpu",
        "SIEVE_STORAGE": f"sqlite:///{service.home}/sieve.db", "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "1",
        "SIEVE_HOME": str(service.home), "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    try:
        command = ["bash", str(SLURM), "quickstart", "--trials-scale", "0.1", "--epochs-scale", "0.2"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert [row.state for row in service.query("SELECT state FROM sieve_study")] == ["done"]
    finally:
        service.end()


@pytest.mark.parametrize("entry", OBJECTS, ids=lambda entry: f"{entry['kind']} {entry['metadata']['name']}")
def test_kubernetes_takes_every_object(entry: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(entry, "1.33", strict=True)


@pytest.mark.parametrize("job", JOBS)
def test_pods_run_as_an_ordinary_user_and_hold_no_password(job: str) -> None:
    pod = _pod(job)
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
    assert pod["automountServiceAccountToken"] is False
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", KUBERNETES.read_text())
    mounts = pod["containers"][0]["volumeMounts"]
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in mounts}


@pytest.mark.parametrize(("job", "container"), CONTAINERS)
def test_containers_have_no_privileges_and_write_only_to_their_volumes(job: str, container: dict[str, Any]) -> None:
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    read_only = {mount["name"] for mount in container["volumeMounts"] if mount.get("readOnly")}
    assert read_only == {"datasets", "password"}


@pytest.mark.parametrize(("job", "container"), CONTAINERS)
def test_containers_run_commands_that_exist_with_options_that_they_know(job: str, container: dict[str, Any]) -> None:
    (shell, flag, script) = container["args"]
    assert (shell, flag) == ("sh", "-c")
    subprocess.run(["sh", "-n", "-c", script], check=True)
    command, options = re.search(r"sieve (\w+)([^;>]*)", script).groups()  # type: ignore[union-attr]
    assert command in COMMANDS
    if command == "run":
        parser = argparse.ArgumentParser(exit_on_error=False)
        add_arguments(parser)
        add_run_arguments(parser)
        assert parser.parse_args(shlex.split(options)).workers == 0


def test_the_configuration_uses_names_that_the_settings_read() -> None:
    (configuration,) = [entry["data"] for entry in OBJECTS if entry["kind"] == "ConfigMap"]
    settings = (ROOT / "search" / "settings.py").read_text()
    read = set(re.findall(r'environment\.get\("(SIEVE_\w+)"\)', settings)) | {"SIEVE_STUDY"}
    assert {key for key in configuration if key.startswith("SIEVE_")} <= read
