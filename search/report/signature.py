"""A short text that changes with what a study's report shows of the database.

It is read in a few statements, however large the study is.
"""

from __future__ import annotations

import hashlib
import json

from search.store.records import StudyRecord, read_stages
from search.store.seal import looks, looks_by_others
from search.store.storage import Storage
from search.store.trial_counts import tally


def read_signature(storage: Storage, record: StudyRecord) -> str:
    """The signature of a study as the database holds it now.

    It covers the study's state and champion, the trials by status, the number of finished epochs, and the looks at the
    test images. Two reports of one study with equal signatures show the same of the database; pictures and lists of
    `sieve check-data` are files, which may have been written between the two.
    """
    stages = [stage.optuna_study for stage in read_stages(storage, record.name)]
    counts = tally(storage, stages, maximize=record.definition.metric != "val_loss")
    seen = [(look.study, look.number, look.result is not None) for look in looks(storage, record.name)]
    by_others = [(look.study, look.number, look.result is not None) for look in looks_by_others(storage, record)]
    content = [
        record.name,
        record.created_at,
        record.state,
        record.champion and record.champion.model_uri,
        [(name, sorted(count.kinds.items()), count.best, count.epochs) for name, count in counts.items()],
        seen,
        by_others,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
