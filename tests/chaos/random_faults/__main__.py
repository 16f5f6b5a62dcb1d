"""Random plans of faults over a whole small search, each drawn from a seed, and what has to hold after each.

    python -m tests.chaos.random_faults --seeds 200 --first 5000 --jobs 2 [--postgres] [--save]

It prints a line for each seed, and the figures at the end or when it is interrupted; `--save` writes them to
`benchmarks/results/random-faults.json` after each seed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

from benchmarks.results import read_result, write_result
from tests.chaos.random_faults.figures import figures
from tests.chaos.random_faults.jobs import weather_all

RESULT = "random-faults"
STORAGES = ("sqlite", "postgres")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="number of seeds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=2, help="plans at a time")
    parser.add_argument("--postgres", action="store_true", help="the storage is a Postgres server, which may crash")
    parser.add_argument("--save", action="store_true", help="write the figures to benchmarks/results")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seeds = range(options.first, options.first + options.seeds)
    started, outcomes, found = time.monotonic(), [], {}
    with suppress(KeyboardInterrupt), closing(weather_all(seeds, options.jobs, on_postgres=options.postgres)) as ended:
        for outcome in ended:
            outcomes.append(outcome)
            print(outcome, flush=True)
            found = {"first": options.first, "jobs": options.jobs, **figures(outcomes, time.monotonic() - started)}
            if options.save:
                save("postgres" if options.postgres else "sqlite", found)
    print(json.dumps(found, indent=1))
    return 0 if found and not found["wrong_seeds"] else 1


def save(storage: str, found: Mapping[str, Any]) -> None:
    """Store the figures of one kind of storage beside those of the other."""
    earlier = {key: value for key, value in (read_result(RESULT) or {}).items() if key in STORAGES}
    write_result(RESULT, {**earlier, storage: found})


if __name__ == "__main__":
    sys.exit(main())
