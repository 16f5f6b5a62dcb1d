"""Every commit takes a while longer, so that a signal most likely finds the training thread in the database."""

import time

from sqlalchemy import Connection, Engine, event

EXTRA_S = 0.05


@event.listens_for(Engine, "commit")
def _slowly(connection: Connection) -> None:
    time.sleep(EXTRA_S)
