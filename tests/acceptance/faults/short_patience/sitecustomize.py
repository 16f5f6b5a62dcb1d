"""Nobody waits long for a database that is away."""

from search.store import storage

storage.OUTAGE_S = 3
