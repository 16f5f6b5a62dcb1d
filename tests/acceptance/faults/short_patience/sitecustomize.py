"""Calls to a database that is away are given up after three seconds."""

from search import timing

timing.DEFAULT_TIMING = timing.Timing(outage_s=3)
