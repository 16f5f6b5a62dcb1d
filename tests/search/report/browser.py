"""A headless chromium, driven over its debugging pipe: nothing to install beside the browser itself."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

TIMEOUT_S = 60.0
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "PageUp": 33, "PageDown": 34, "ArrowLeft": 37, "ArrowRight": 39}
"""Windows' numbers of the keys that `press` knows, by which chromium finds a key's effect."""
_COMMANDS_FD, _EVENTS_FD = 3, 4
"""Where chromium reads commands and writes events, with --remote-debugging-pipe."""


class Browser:
    """One page. Messages are JSON objects with a zero byte after each: the Chrome DevTools Protocol."""

    def __init__(self, executable: str, profile: Path) -> None:
        commands_read, self._commands = os.pipe()
        self._events, events_write = os.pipe()

        def place_pipes() -> None:  # High numbers first: the ends may lie on 3 or 4 themselves.
            high = os.dup(commands_read), os.dup(events_write)
            os.dup2(high[0], _COMMANDS_FD)
            os.dup2(high[1], _EVENTS_FD)

        self._process = subprocess.Popen(
            [
                executable, "--headless", "--no-sandbox", "--disable-gpu-sandbox", "--enable-unsafe-swiftshader",
                "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run", "about:blank",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=place_pipes,
        )  # fmt: skip
        os.close(commands_read)
        os.close(events_write)
        self._ids = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        """Everything the page reported so far."""
        target = next(t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=TIMEOUT_S)
        os.close(self._commands)
        os.close(self._events)

    def __call__(self, method: str, **params: Any) -> Any:
        """Send a command and wait for its answer."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            received = self._receive()
            if received.get("id") == number:
                assert "error" not in received, received
                return received["result"]
            self.events.append(received)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"{expression} never came true"
            time.sleep(0.1)

    def show(self, url: str, *, width: int, dark: bool = False) -> None:
        """Open a page at a width and wait until its figures are drawn."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = "dark" if dark else "light"
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self("Page.navigate", url=url)
        self.wait_for("document.documentElement?.dataset.drawn > 0")

    def press(self, key: str, times: int = 1) -> None:
        """Press and release a key of the keyboard, on whatever has the focus."""
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        for _ in range(times):
            self("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **code, **text)
            self("Input.dispatchKeyEvent", type="keyUp", **code)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the mouse with its left button from one point of the window to another, in CSS pixels."""
        for kind, (x, y) in (
            ("mouseMoved", start),
            ("mousePressed", start),
            ("mouseMoved", end),
            ("mouseReleased", end),
        ):
            held = {} if kind == "mouseMoved" and (x, y) == start else {"button": "left", "buttons": 1, "clickCount": 1}
            self("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def screenshot(self, path: Path) -> None:
        """The whole page."""
        shot = self("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._events, 1 << 20)
            assert chunk, "chromium ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        received: dict[str, Any] = json.loads(message)
        return received
