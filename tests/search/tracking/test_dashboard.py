"""Both pages in real servers: they show the study, on loopback only, and end when told."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from search.cli import main_guard
from search.dashboard import main

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(settings, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "search.dashboard", "--home", str(settings.home), *arguments]


@pytest.fixture
def dashboard(finished) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The running command, and the links that it printed."""
    ports = ["--port", str(free_port()), "--mlflow-port", str(free_port())]
    process = subprocess.Popen(command(finished, *ports, "--json"), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


@pytest.mark.slow
def test_both_pages_show_the_study_on_loopback_and_end_with_the_command(dashboard):
    process, links = dashboard
    origin = links["optuna"].removesuffix("/dashboard/")
    assert requests.get(links["optuna"], timeout=10).ok
    studies = requests.get(f"{origin}/api/studies", timeout=10).json()["study_summaries"]
    assert [study["study_name"] for study in studies] == ["partA/confirm"]
    refused = requests.delete(f"{origin}/api/studies/{studies[0]['study_id']}", timeout=10)
    assert refused.status_code == 405

    mlflow, _, page = links["mlflow"].partition("#")
    assert page.startswith("/experiments")
    assert "MLflow" in requests.get(mlflow, timeout=10).text
    query = {"filter": "name = 'partA'", "max_results": "5"}
    found = requests.get(f"{mlflow}api/2.0/mlflow/experiments/search", params=query, timeout=10).json()
    assert [experiment["name"] for experiment in found["experiments"]] == ["partA"]

    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = {
        connection.laddr.ip
        for member in family
        for connection in member.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}

    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    deadline = time.monotonic() + 10
    while any(member.is_running() for member in family[1:]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [member for member in family[1:] if member.is_running()]


def test_a_home_without_a_database_is_a_bad_request_and_stays_empty(tmp_path, capsys):
    assert main_guard(lambda: main(["--home", str(tmp_path / "nothing")])) == 2
    assert "no studies at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--port", "--mlflow-port"])
def test_a_taken_port_is_named_with_the_option_that_changes_it(finished, capsys, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = "--mlflow-port" if option == "--port" else "--port"
        arguments = ["--home", str(finished.home), option, str(port), other, str(free_port())]
        assert main_guard(lambda: main(arguments)) == 2
    assert capsys.readouterr().err == f"error: port {port} on 127.0.0.1 is in use; choose another port with {option}\n"
