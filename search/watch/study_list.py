"""The first page of `sieve watch`: all studies of the database, newest first."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from search.report.metric import plural, study_metric
from search.report.pieces import STYLE
from search.status import standing
from search.store.find import find_study
from search.store.records import read_study, study_names
from search.store.storage import Storage
from search.text import show_when
from search.watch.live_study import TEMPLATES


class StudyList:
    """All studies with their progress."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def check(self, study: str) -> None:
        """Raise UserError, with the nearest name, if there is no study of that name."""
        find_study(self._storage, study)

    def page(self, alert: str = "") -> str:
        """The whole page, with an alert above the studies if there is one."""
        return TEMPLATES.get_template("study_list.html.j2").render(rows=self.rows(), style=STYLE, alert=alert)

    def rows(self) -> str:
        """The table of the studies as HTML."""
        entries = [self._entry(name) for name in reversed(study_names(self._storage))]
        return TEMPLATES.get_template("study_rows.html.j2").render(entries=[entry for entry in entries if entry])

    def _entry(self, name: str) -> dict[str, Any] | None:
        record = read_study(self._storage, name)
        if record is None:  # Deleted in the meantime.
            return None
        found = standing(self._storage, record)
        metric = study_metric(record)
        bests = [stage.best for stage in found.snapshot.stages if stage.best is not None]
        if record.champion:
            best = f"{metric.show(record.champion.value)}, mean of {plural(len(record.champion.seeds), 'seed')}"
        else:
            best = f"{metric.show((max if metric.maximize else min)(bests))}, {metric.trial_value}" if bests else "-"
        stages = found.snapshot.stages
        return {
            "name": name,
            "address": f"/studies/{quote(name, safe='')}",
            "state": found.state,
            "ended": sum(stage.finished for stage in stages),
            "planned": sum(stage.planned for stage in stages),
            "best": best,
            "metric": metric.label,
            "images": f"{record.data.train + record.data.val:,} images of {record.data.spec.source}",
            "started": show_when(record.created_at),
        }
