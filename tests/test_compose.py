"""The promises of docker-compose.yml and the Dockerfile, read from the files themselves."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.main import COMMANDS

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(SERVICES.keys() - {"postgres"})
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_nothing_but_the_two_pages_is_published_and_only_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"mlflow": ["127.0.0.1:5000:5000"], "optuna-dashboard": ["127.0.0.1:8080:8080"]}
    assert not any(service.get("network_mode") for service in SERVICES.values())


def test_no_password_stands_in_a_file_a_url_or_the_environment():
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            assert "PASSWORD" not in key or key == "POSTGRES_PASSWORD_FILE"
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value))
        assert not re.search(r"://[^/@]*:[^/@]*@", str(service.get("command", "")))
    assert COMPOSE["secrets"] == {"postgres_password": {"file": "./secrets/postgres_password"}}
    assert all(service["secrets"] == ["postgres_password"] for service in SERVICES.values())


def test_postgres_wants_a_scram_password_from_everybody():
    environment = SERVICES["postgres"]["environment"]
    assert environment["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
    assert environment["POSTGRES_INITDB_ARGS"] == "--auth-host=scram-sha-256 --auth-local=scram-sha-256"
    assert "POSTGRES_HOST_AUTH_METHOD" not in environment


def test_every_image_is_pinned_to_a_full_version():
    pulled = [SERVICES["postgres"]["image"], *re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)]
    assert len(pulled) == 2
    assert all(re.search(r":\d+\.\d+", image) for image in pulled)
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert {SERVICES[name]["image"] for name in OURS} == {f"sieve:{version[1]}"}


def test_every_service_waits_for_what_it_needs():
    conditions = {
        name: {needed: entry["condition"] for needed, entry in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    completed, healthy = "service_completed_successfully", "service_healthy"
    assert conditions == {
        "postgres": {},
        "init": {"postgres": healthy},
        "mlflow": {"init": completed},
        "optuna-dashboard": {"init": completed},
        "supervisor": {"init": completed, "mlflow": healthy},
        "worker": {"supervisor": healthy},
    }
    waited_for = {name for needs in conditions.values() for name, condition in needs.items() if condition == healthy}
    assert all("healthcheck" in SERVICES[name] for name in waited_for)


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name):
    words = shlex.split(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", SERVICES[name]["command"]))
    assert words[0] in importlib.metadata.entry_points(group="console_scripts").names
    assert words[0] != "sieve" or words[1] in COMMANDS


@pytest.mark.parametrize("name", OURS)
def test_every_container_of_ours_runs_as_an_ordinary_user_without_privileges(name):
    service = SERVICES[name]
    assert service["user"] == "sieve"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert DOCKERFILE.index("\nUSER sieve\n") < DOCKERFILE.index("\nENTRYPOINT")


@pytest.mark.parametrize("name", ["supervisor", "worker"])
def test_pictures_are_mounted_read_only_where_the_settings_expect_them(name):
    service = SERVICES[name]
    assert service["volumes"] == ["runs:/home/sieve/runs", "${SIEVE_DATA:-./datasets}:/datasets:ro"]
    assert service["environment"]["SIEVE_DATA"] == "/datasets"
    assert service["environment"]["SIEVE_HOME"] == "/home/sieve/runs"


def test_named_volumes_are_declared_and_used():
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert {source for source in mounted if "$" not in source} == set(COMPOSE["volumes"])


def test_mlflow_answers_its_clients_by_name_with_the_port_and_sends_no_telemetry():
    environment = SERVICES["mlflow"]["environment"]
    assert "mlflow:5000" in environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert SERVICES["worker"]["environment"]["SIEVE_TRACKING"] == "http://mlflow:5000"
    assert all(SERVICES[name]["environment"]["MLFLOW_DISABLE_TELEMETRY"] == "true" for name in OURS)


def test_workers_reserve_a_gpu_and_can_be_scaled():
    worker = SERVICES["worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "container_name" not in worker


def test_the_password_reaches_libpq_through_a_file_of_the_users_own(tmp_path):
    (script,) = re.findall(r"<<'EOF' /usr/local/bin/with-password\n(.*?)\nEOF\n", DOCKERFILE, re.DOTALL)
    secret = tmp_path / "secret"
    secret.write_text("a:b\\c\n")
    command = ["sh", "-c", script.replace("/run/secrets/postgres_password", str(secret)), "sh", "echo", "started"]
    done = subprocess.run(command, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
    assert (tmp_path / ".pgpass").read_text() == "*:*:*:*:a\\:b\\\\c\n"
    assert (tmp_path / ".pgpass").stat().st_mode & 0o777 == 0o600
