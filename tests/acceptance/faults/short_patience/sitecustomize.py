"""Nobody waits long for a database that is away."""

from search.store import retries

retries.OUTAGE_S = 3
