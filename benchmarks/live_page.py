"""Measure how long the live page takes to show what happens in a search, from when it is written to the database.

    python -m benchmarks.live_page [--trials-scale 3] [--json] [--save]

`quickstart` runs with two workers, and `sieve watch` beside them; a client reads the page's events as a browser does. A
trial counts as shown when the parallel coordinates of its stage have a line for it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks.measured import ROOT
from benchmarks.results import write_result
from data.errors import SieveError
from search import names
from search.cli import CommandParser, main_guard
from search.terminal import print_json, say

TARGET_S = 2.0
WORKERS = 2
POLL_S = 0.05
AFTER_S = 10.0
"""Seconds that the page has after the last trial."""
_WRITTEN = """
SELECT MIN(e.finished_at) FROM sieve_epoch e JOIN trials t ON t.trial_id = e.trial_id
JOIN studies s ON s.study_id = t.study_id WHERE s.study_name NOT LIKE '%/confirm' GROUP BY e.trial_id ORDER BY 1
"""
"""When the first epoch of each trial of the search was written."""

Seen = list[tuple[float, int]]
"""When (Unix time in seconds) the page showed how many trials, whenever their number changed."""


def first_epochs(home: Path) -> list[float]:
    """Return when the first epoch of each trial was written (Unix time in seconds), in order."""
    database = home / names.STORAGE_FILE
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        try:
            return [at for (at,) in connection.execute(_WRITTEN)]
        except sqlite3.OperationalError:
            return []  # The tables do not exist yet.


def delays_s(written_at: Sequence[float], seen: Seen) -> list[float]:
    """Return the seconds until each trial was shown that was written while the page was open.

    Raises SieveError if the page never showed one of them.
    """
    opened_at, shown = seen[0]
    delays = []
    for number, at in enumerate(written_at, start=1):
        if at < opened_at or number <= shown:
            continue
        found = next((when for when, count in seen if count >= number), None)
        if found is None:
            raise SieveError(f"the page shows {seen[-1][1]} of {len(written_at)} trials {AFTER_S:.0f} s after the end")
        delays.append(found - at)
    return delays


@contextmanager
def _served(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Serve the live page of a home; yields its address and its process."""
    command = [sys.executable, "-m", "search.watch", "--home", str(home), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"], psutil.Process(process.pid)
        finally:
            process.terminate()


def _cpu_s(process: psutil.Process) -> float:
    """Processor time of a process and its children so far, in seconds."""
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


def _lines(figures: Mapping[str, Any]) -> int:
    """Number of trials in the parallel coordinates of all stages."""
    wanted = [f for name, f in figures.items() if name.startswith("stage-") and name.endswith("-parallel-coordinates")]
    return sum(len(figure["data"][0]["line"]["color"]) for figure in wanted)


def _follow(url: str, home: Path, search: subprocess.Popen[bytes]) -> Seen:
    """Read the page and its events until it shows all trials of the search, or some seconds after the search's end."""
    page = requests.get(url, timeout=60).text
    text = page.split('<script type="application/json" id="figures">')[1].split("</script>")[0]
    figures = {figure["id"]: figure for figure in json.loads(text)}
    version = re.search(r'data-version="([^"]+)"', page)
    assert version is not None
    seen, ended_at = [(time.time(), _lines(figures))], float("inf")
    with requests.get(f"{url}/events?version={version[1]}", stream=True, timeout=60) as answer:
        for line in answer.iter_lines(chunk_size=None, decode_unicode=True):
            if line.startswith('data: {"version"'):
                figures |= {(new := json.loads(text))["id"]: new for text in json.loads(line[6:])["figures"]}
                seen.append((time.time(), _lines(figures)))
            if search.poll() is not None:
                ended_at = min(ended_at, time.time())
                if seen[-1][1] >= len(first_epochs(home)) or time.time() > ended_at + AFTER_S:
                    break
    return seen


def measure(home: Path, scale: float) -> dict[str, Any]:
    """Run `quickstart` with two workers and follow its page."""
    command = [sys.executable, "-m", "search.run", "--study", "quickstart", "--home", str(home)]
    command += ["--workers", str(WORKERS), "--devices", "cpu", "--trials-scale", str(scale)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (home / "output.txt").open("wb") as output:
        search = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        while len(first_epochs(home)) < WORKERS:
            if search.poll() is not None:
                raise SieveError(f"search.run ended: {(home / 'output.txt').read_text()[-500:]}")
            time.sleep(POLL_S)
        with _served(home) as (address, server):
            begun_at, begun_cpu_s = time.monotonic(), _cpu_s(server)
            seen = _follow(f"{address}studies/quickstart", home, search)
            share = (_cpu_s(server) - begun_cpu_s) / (time.monotonic() - begun_at)
    finally:
        search.terminate()
        search.wait()
    delays = delays_s(first_epochs(home), seen)
    if not delays:
        raise SieveError("the search was over before the page was open; give a larger --trials-scale")
    return {
        "study": "quickstart",
        "target_s": TARGET_S,
        "trials": len(delays),
        "median_s": round(statistics.median(delays), 3),
        "max_s": round(max(delays), 3),
        "share_of_a_core": round(share, 2),
        "delays_s": [round(delay, 3) for delay in delays],
    }


def main() -> None:
    """Measure the delays and print or keep them."""
    parser = CommandParser(
        prog="python -m benchmarks.live_page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trials-scale", type=float, default=3.0, help="multiply the search's number of trials")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sieve-benchmark-") as scratch:
        result = measure(Path(scratch), options.trials_scale)
    say(f"{result['trials']} trials shown after {result['median_s']} s (median), {result['max_s']} s at most")
    say(f"the page took {result['share_of_a_core']:.0%} of a core")
    if options.save:
        say(f"kept: {write_result('live-page', result)}")
    if options.json:
        print_json(result)


if __name__ == "__main__":
    sys.exit(main_guard(main))
