"""The web server of the live page: GET only, on the loopback address, for requests that name this machine."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data.errors import UserError
from search.report.make import compare
from search.settings import Settings
from search.store.storage import Storage
from search.watch.events import list_events, study_events
from search.watch.live_study import LiveStudy
from search.watch.seldom import end_estimates
from search.watch.study_list import StudyList

HOST = "127.0.0.1"
OWN_NAMES = ("127.0.0.1", "localhost")
"""Host headers that are answered. Any other comes from a page elsewhere whose name was made to lead to this machine."""
STOP_S = 2
_HERE = Path(__file__).parent
_SCRIPTS = {"live.js", "study_list.js", "morph.js"}
_HEADERS = {
    b"content-security-policy": (
        # Plotly compiles the shaders of parallel coordinates with `new Function`, which counts as eval.
        b"default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    b"cache-control": b"no-store",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


class _Guarded:
    """Adds headers to every answer that keep the page's content on the page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS.items()]
            await send(message)

        await self._app(scope, receive, guarded)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`, which ends without raising them again."""
        yield


def make_app(settings: Settings, storage: Storage, is_stopping: Callable[[], bool] = lambda: False) -> Starlette:
    """The page as an application. It reads the database and the home, and has no route that changes anything."""
    listed = StudyList(storage)
    live: dict[str, LiveStudy] = {}

    def study_of(request: Request) -> LiveStudy:
        name = request.path_params["study"]
        listed.check(name)
        return live.setdefault(name, LiveStudy(settings, storage, name))

    def show_list(request: Request) -> Response:
        return HTMLResponse(listed.page())

    def show_comparison(request: Request) -> Response:
        chosen = request.query_params.getlist("study")
        if len(set(chosen)) < 2:
            return HTMLResponse(listed.page("Select at least two studies to compare them."), status_code=400)
        return HTMLResponse(compare(settings, chosen))

    def show_study(request: Request) -> Response:
        study = study_of(request)
        if path := study.finished_report():
            return FileResponse(path, media_type="text/html")
        html, version = study.html()
        script = f'<script src="/morph.js"></script><script src="/live.js" data-version="{version}"></script>\n</body>'
        return HTMLResponse(script.join(html.rsplit("</body>", 1)))

    async def stream_list(request: Request) -> Response:
        return _stream(list_events(listed, is_stopping))

    async def stream_study(request: Request) -> Response:
        study = await asyncio.to_thread(study_of, request)
        version = request.headers.get("last-event-id") or request.query_params.get("version", "")
        return _stream(study_events(study, version, is_stopping))

    def show_file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _SCRIPTS:
            return PlainTextResponse("not found", status_code=404)
        return FileResponse(_HERE / name, media_type="text/javascript")

    def refuse(request: Request, error: Exception) -> Response:
        return PlainTextResponse(str(error), status_code=404)

    return Starlette(
        routes=[
            Route("/", show_list, methods=["GET"]),
            Route("/compare", show_comparison, methods=["GET"]),
            Route("/events", stream_list, methods=["GET"]),
            Route("/studies/{study}", show_study, methods=["GET"]),
            Route("/studies/{study}/events", stream_study, methods=["GET"]),
            Route("/{name}", show_file, methods=["GET"]),
        ],
        middleware=[Middleware(_Guarded), Middleware(TrustedHostMiddleware, allowed_hosts=OWN_NAMES)],
        exception_handlers={UserError: refuse},
    )


def _stream(events: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream")


def serve(settings: Settings, storage: Storage, *, port: int, ready: Callable[[int], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM; call `ready` with the port once it answers.

    Raises UserError if the port is in use.
    """
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()
        except OSError:
            raise UserError(f"port {port} on {HOST} is in use; choose another port with --port") from None
        app = make_app(settings, storage, lambda: server.should_exit)
        server = _Server(
            uvicorn.Config(app, log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=STOP_S)
        )

        def stop(*_: object) -> None:
            server.should_exit = True

        before = {kind: signal.signal(kind, stop) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            ready(listening.getsockname()[1])
            server.run(sockets=[listening])
        finally:
            end_estimates()
            for kind, handler in before.items():
                signal.signal(kind, handler)
