"""The parts by name, and a function that measures a part in its own process, which may fail, hang or crash the driver.

python -m benchmarks.gpu.parts NAME SETTING
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class PartEntry:
    """Module and function that measure a part, and its time limit in seconds."""

    module: str
    function: str
    limit_s: float


PARTS = {
    "steps": PartEntry("steps", "measure", 120),
    "gang": PartEntry("gangs", "measure", 60),
    "memory": PartEntry("memory", "measure", 30),
    "fused": PartEntry("fused", "measure", 60),
    "W3": PartEntry("contenders", "measure_w3", 120),
    "W4": PartEntry("contenders", "measure_w4", 100),
    "time-to-accuracy": PartEntry("accuracy", "measure", 100),
    "W5": PartEntry("contenders", "measure_w5", 100),
}
"""All parts, in the order in which they are measured."""


def run_part(name: str, setting: dict[str, Any], limit_s: float) -> Iterator[dict[str, Any]]:
    """Measure a part and yield its figures as they arrive; the last item holds its seconds and its error or None.

    After `limit_s` seconds the part's process and its children are killed.
    """
    started_s = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.gpu.parts", name, json.dumps(setting)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    late = threading.Event()
    timer = threading.Timer(limit_s, lambda: (late.set(), _kill(process)))  # type: ignore[func-returns-value]
    timer.start()
    error = None
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                figures = json.loads(line)
                error = figures.pop("error", error)
                if figures:
                    yield figures
            process.wait()
        finally:
            timer.cancel()
            _kill(process)  # Also after an interrupt, so that no child process stays.
    code = process.returncode
    if late.is_set():
        error = f"took longer than {limit_s:g} s"
    elif code and not error:
        error = f"its process ended with exit code {code}"
    yield {"parts": {name: {"seconds": round(time.monotonic() - started_s, 1), "error": error}}}


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    """Measure the part that the command line names and print its figures as lines of JSON, and nothing else."""
    name, setting = sys.argv[1], json.loads(sys.argv[2])
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # All other output, of child processes too, goes to stderr.
    try:
        _measure(name, setting, lines.write)
    except Exception as error:
        traceback.print_exc()
        lines.write(json.dumps({"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}) + "\n")
        sys.exit(1)


def _measure(name: str, options: dict[str, Any], write: Any) -> None:
    os.environ.setdefault("TEARDOWN_CUPTI", "0")  # A restarted torch profiler breaks on CUDA graphs.
    import torch

    from benchmarks.gpu.setting import Setting
    from models.training.process import tune_process

    tune_process()
    folders = {key: Path(options[key]) if options[key] else None for key in ("data", "large")}
    setting = Setting(device=torch.device(options["device"]), smoke=options["smoke"], **folders)
    entry = PARTS[name]
    measure = getattr(import_module(f"benchmarks.gpu.{entry.module}"), entry.function)
    for figures in measure(setting):
        write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
