"""After the confirmation: combines runs into one classifier, if that is better on the validation images.

`search.supervisor.candidates` makes soups, ensembles and classifiers of mirrored images, and says when one is better.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from data.files import hash_folder, read_json, write_json, writing_below
from search import names
from search.store.champion_record import ChampionRecord
from search.store.combination_record import CombinationRecord
from search.supervisor.candidates import Candidates, FinishedRun
from search.trials.working_files import remove_half_written_bundles
from search.trials.workload import WorkloadBuilder
from studies.definition import Confirm

DECISION_FILE = "combination.json"


def combine(
    workloads: WorkloadBuilder,
    champion: ChampionRecord,
    runs: Sequence[FinishedRun],
    confirm: Confirm,
    folder: Path,
    device: torch.device,
    *,
    deadline: float | None = None,
) -> CombinationRecord:
    """Combine runs as the confirmation specifies; a combination that is kept is saved below `folder`.

    If an interrupted promotion has saved a combination of the same runs there, it is used again. After
    `deadline`, in seconds since the epoch, no further runs are added, and mirrored images are not tried.
    """
    identity = {
        "runs": {str(run.trial): hash_folder(run.folder) for run in runs},
        "combine": confirm.combine,
        "mirror": confirm.mirror,
        "champion": champion.trial,
    }
    bundle = folder / names.BUNDLE_FOLDER
    stored = read_json(folder / DECISION_FILE)
    if stored and stored["identity"] == identity:
        record = CombinationRecord.from_json(stored["record"])
        if not record.is_kept or (bundle.is_dir() and hash_folder(bundle) == stored["bundle"]):
            return record
    shutil.rmtree(bundle, ignore_errors=True)  # Left by a promotion that was interrupted.
    remove_half_written_bundles(folder)
    candidates = Candidates(workloads, champion, runs, device, deadline)
    best, record = candidates.best(confirm)
    if record.is_kept:
        candidates.save(best, folder)
    saved = hash_folder(bundle) if record.is_kept else None
    with writing_below(folder):
        write_json(folder / DECISION_FILE, {"identity": identity, "bundle": saved, "record": record.to_json()})
    return record
