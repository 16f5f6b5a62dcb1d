"""The supervisor's thread that keeps MLflow up to date and never blocks or fails a search."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import select

from data.disk_trouble import disk_trouble
from data.errors import SieveError, UserError
from search.settings import Settings
from search.store.records import read_study
from search.store.retries import retried
from search.store.storage import Storage
from search.store.tables import mirrored
from search.tracking.client import connect, first_line
from search.tracking.follower import Follower
from search.tracking.moved_home import follow_home
from search.urls import redact

INTERVAL_S = 5.0
"""Seconds between two passes; doubled after each failure."""
LONGEST_PAUSE_S = 60.0
"""Longest time between two passes, in seconds."""


class Mirror:
    """Mirrors one study in MLflow. The supervisor's lock ensures that a study has one mirror at a time."""

    def __init__(
        self, settings: Settings, storage: Storage, study: str, *, show: Callable[[str], None] | None = None
    ) -> None:
        """`show` is called with a line when MLflow fails, and with another when it is up to date again."""
        self._settings = settings
        self._storage = storage
        self._study = study
        self._show = show or (lambda line: None)
        self._follower: Follower | None = None
        self._pass = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failures = 0
        """Number of passes that failed since the last successful one."""
        self.failure: str | None = None
        """First line of the last pass's error; None if that pass succeeded."""
        self._trouble: str | None = None
        """What to do about the disk, if it made the last pass fail."""

    def sync(self, *, verify: bool = False) -> int:
        """Make one pass; returns the number of trials that changed in MLflow, 0 after a failure. Raises nothing.

        With `verify`, runs that MLflow had and has lost are created again.
        """
        with self._pass:
            try:
                follower = self._following()
                if verify:
                    follower.forget_lost_runs()
                changed = follower.follow()
            except Exception as error:  # No error of MLflow may fail a search.
                self._follower = None
                self._note_failure(error)
                return 0
        self._note_success()
        return changed

    def run_of(self, trial_id: int) -> str:
        """The id of a trial's run, after a pass.

        Raises SieveError if MLflow does not have the run, UserError if that is because its disk is full.
        """
        self.sync()
        run_id = _read_run_id(self._storage, trial_id)
        if run_id is None and self._trouble:
            raise UserError(f"MLflow at {redact(self._settings.tracking_url)}: {self._trouble}")
        if run_id is None:
            reason = f" ({self.failure})" if self.failure else ""
            raise SieveError(
                f"MLflow at {redact(self._settings.tracking_url)} has no run for trial {trial_id}{reason}; check that "
                "it is running, then repeat the command: nothing is trained again"
            )
        return run_id

    def start(self) -> None:
        """Repeat passes in the background until `stop` is called."""
        self._thread = threading.Thread(target=self._follow_until_stopped, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Make one last pass; True if MLflow is up to date, False if the pass fails or takes longer than `timeout_s`.

        The next run of the study, or `search.sync`, sends what is missing.
        """
        self._stop.set()
        if self._thread is None:
            self.sync()
            return self.failures == 0
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and self.failures == 0

    def _follow_until_stopped(self) -> None:
        # Not immediately: importing MLflow and creating its tables would take CPU time from starting workers.
        while not self._stop.wait(min(INTERVAL_S * 2**self.failures, LONGEST_PAUSE_S)):
            self.sync()
        self.sync()

    def _following(self) -> Follower:
        if self._follower is None:
            study = read_study(self._storage, self._study)
            if study is None:
                raise UserError(f"no study {self._study!r} at {redact(self._settings.storage_url)}")
            client = connect(self._settings.tracking_url)
            follow_home(self._settings.tracking_url)
            self._follower = Follower(client, self._storage, study, self._settings.artifact_location)
        return self._follower

    def _note_failure(self, error: Exception) -> None:
        url = self._settings.tracking_url
        self.failures += 1
        self.failure = first_line(error, url)
        self._trouble = disk_trouble(error)
        if self.failures == 1:
            self._show(
                f"MLflow at {redact(url)} is behind ({self.failure}); the search continues, MLflow is updated later"
            )

    def _note_success(self) -> None:
        if self.failures:
            self._show(f"MLflow at {redact(self._settings.tracking_url)} is up to date again")
        self.failures = 0
        self.failure = self._trouble = None


@retried
def _read_run_id(storage: Storage, trial_id: int) -> str | None:
    """The id of the MLflow run of a trial; None if it has none yet."""
    with storage.reader.begin() as connection:
        query = select(mirrored.c.run_id).where(mirrored.c.trial_id == trial_id)
        return connection.execute(query).scalar_one_or_none()
