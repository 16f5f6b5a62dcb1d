"""Show studies in the browser, with optuna-dashboard and MLflow.

    sieve dashboard
    sieve dashboard --port 8081 --mlflow-port 5001

Neither page has a login, so both are reachable from this machine only (127.0.0.1), and optuna-dashboard is read-only.
Ctrl-C or SIGTERM stops both.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import IO, TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import requests

from data.errors import SieveError, UserError
from search.cli import CommandParser, command_parser, main_guard, port_number
from search.settings import Settings, enter_home
from search.store.storage import Storage, open_storage
from search.terminal import print_json, say
from search.tracking.client import answering
from search.urls import redact

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
START_S = 60.0
STOP_S = 10.0


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print no line for a request."""


def serve(
    settings: Settings, *, port: int, mlflow_port: int, ready: Callable[[str, str], None], stop: threading.Event
) -> None:
    """Serve both pages until `stop` is set; call `ready` with the URLs of optuna-dashboard and MLflow once both answer.

    Raises UserError if there is no study or a port is in use, and SieveError if MLflow's server ends by itself.
    """
    storage = open_storage(settings.storage_url, create=False)
    try:
        with _optuna_dashboard(storage, port) as optuna_url, _mlflow_server(settings, mlflow_port) as server:
            server.wait_until_ready(stop)
            if not stop.is_set():
                ready(optuna_url, server.url)
            while not stop.wait(0.5):
                server.check()
    finally:
        storage.close()


@contextmanager
def _optuna_dashboard(storage: Storage, port: int) -> Iterator[str]:
    from optuna_dashboard import wsgi

    try:
        server = make_server(HOST, port, read_only(wsgi(storage.optuna)), _Server, _QuietHandler)
    except OSError:
        raise _taken(port, "--port") from None
    thread = threading.Thread(target=server.serve_forever, name="optuna-dashboard", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/dashboard/"
    finally:
        server.shutdown()
        server.server_close()


def read_only(app: WSGIApplication) -> WSGIApplication:
    """Wrap an application so that it refuses every request that could change or delete a study."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start_response)
        start_response("405 Method Not Allowed", [("Content-Type", "text/plain"), ("Allow", "GET, HEAD")])
        return [b"Sieve serves this page read-only.\n"]

    return guarded


class _RemoteMLflow:
    """A tracking server that was running before this command, and keeps running after it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def wait_until_ready(self, stop: threading.Event) -> None:
        """Return at once: this command did not start the server."""

    def check(self) -> None:
        """Do nothing: this command is not responsible for the server."""


class _LocalMLflow:
    """An MLflow server that this command started as a child process."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], port: int) -> None:
        origin = f"http://{HOST}:{port}/"
        self.url = f"{origin}#/experiments?workflowType=machine_learning"
        self._health_url = f"{origin}health"
        self._process = process
        self._log = log

    def wait_until_ready(self, stop: threading.Event) -> None:
        """Return once the server answers or `stop` is set. Raises SieveError if the server ends or takes too long."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.check()
            try:
                if requests.get(self._health_url, timeout=2).ok:
                    return
            except requests.RequestException:
                if stop.wait(0.2):
                    return
        raise SieveError(f"MLflow's server did not answer at {self.url} within {START_S:.0f} s")

    def check(self) -> None:
        """Raise SieveError if the server has ended."""
        if self._process.poll() is not None:
            self._log.seek(0)
            last = (self._log.read().decode(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]
            raise SieveError(f"MLflow's server exited with code {self._process.returncode}: {last}")

    def end(self) -> None:
        """End the server and its worker processes, which share its process group."""
        for kind in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, kind)
                try:
                    self._process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    continue


@contextmanager
def _mlflow_server(settings: Settings, port: int) -> Iterator[_LocalMLflow | _RemoteMLflow]:
    if settings.tracking_url.startswith(("http:", "https:")):
        yield _RemoteMLflow(redact(settings.tracking_url))
        return
    _require_free(port)
    with answering(settings.tracking_url):
        pass  # Creates the tables if no search has done so yet: the server's own processes would race to create them.
    # By environment and not on the command line, which `ps` shows: the database's URL may contain a password.
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": settings.tracking_url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    if settings.artifact_location:
        command += ["--default-artifact-root", settings.artifact_location]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        server = _LocalMLflow(process, log, port)
        try:
            yield server
        finally:
            server.end()


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise _taken(port, "--mlflow-port") from None


def _taken(port: int, option: str) -> UserError:
    return UserError(f"port {port} on {HOST} is in use; choose another port with {option}")


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.dashboard", __doc__)
    parser.add_argument(
        "--port", metavar="N", type=port_number, default=8080, help="port of optuna-dashboard (default: 8080)"
    )
    parser.add_argument(
        "--mlflow-port", metavar="N", type=port_number, default=5000, help="port of MLflow (default: 5000)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = build_parser().parse_args(argv)

    def ready(optuna_url: str, mlflow_url: str) -> None:
        if arguments.json:
            print_json({"optuna": optuna_url, "mlflow": mlflow_url})
        else:
            print(f"optuna-dashboard  {optuna_url}\nMLflow            {mlflow_url}")
        sys.stdout.flush()
        say("The pages have no login and are reachable from this machine only. Ctrl-C stops them.")

    settings = enter_home(arguments)
    with _stop_signals() as stop:
        serve(settings, port=arguments.port, mlflow_port=arguments.mlflow_port, ready=ready, stop=stop)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set."""
    stop = threading.Event()
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


if __name__ == "__main__":
    sys.exit(main_guard(main))
