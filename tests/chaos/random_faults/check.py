"""What has to hold after a search that faults fell on. A command of its own: it opens the seal and loads the champion.

    python -m tests.chaos.random_faults.check ACKNOWLEDGED

`ACKNOWLEDGED` is a JSON file with the values of trials that were seen to be finished. SIEVE_HOME and SIEVE_STORAGE
name the home and its database. It prints a `Findings` as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from search import names
from search.evaluate import evaluate
from search.settings import from_arguments
from search.tracking import tags
from search.tracking.client import connect
from tests.acceptance.service import Service
from tests.chaos.champions import check_champion
from tests.chaos.random_faults.eleven import EPOCHS, PLANNED, STUDY, TRIALS
from tests.chaos.random_faults.findings import Findings


def count_trials(service: Service, acknowledged: Mapping[int, float | None], found: Findings) -> None:
    """Count what became of the planned trials."""
    trials = service.trials()
    rows = Counter(trial.study_name for trial in trials)
    complete = Counter(trial.study_name for trial in trials if trial.state == "COMPLETE")
    values = {trial.trial_id: trial.value for trial in trials}
    found.trials = len(values)
    found.lost = sum((Counter(PLANNED) - complete).values())
    found.twice = sum((rows - Counter(PLANNED)).values())
    found.changed = sum(values.get(trial_id) != value for trial_id, value in acknowledged.items())
    found.inexact_epochs = sum(service.epochs(trial_id) != EPOCHS for trial_id in values)
    found.losses = sum(service.attribute(trial_id, "losses") or 0 for trial_id in values)
    found.left_running = sum(trial.state in ("RUNNING", "WAITING") for trial in trials)
    found.left_running += len(service.query("SELECT * FROM sieve_lease"))


def check_files(home: Path) -> None:
    """Raise AssertionError if a checkpoint or half a classifier is left, or a worker met a bug."""
    left = [*home.rglob(f"*{names.CHECKPOINT_FILE}*"), *home.rglob(f".{names.BUNDLE_FOLDER}.*.part")]
    assert not left, f"left behind: {left}"
    for log in home.rglob("worker-*.log"):
        text = log.read_text()
        assert "Traceback" not in text, f"{log.name}: {text}"


def check_mlflow(tracking_url: str) -> None:
    """Raise AssertionError unless every trial is one run with all its epochs."""
    client = connect(tracking_url)
    experiment = client.get_experiment_by_name(STUDY)
    runs = client.search_runs([experiment.experiment_id], f"tags.`{tags.KIND}` = 'trial'")
    assert len(runs) == len({run.data.tags[tags.TRIAL_ID] for run in runs}) == TRIALS, f"{len(runs)} runs in MLflow"
    for run in runs:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_accuracy")]
        assert steps[: len(EPOCHS)] == EPOCHS, f"steps of run {run.info.run_name}: {steps}"
        assert run.info.status == "FINISHED", f"run {run.info.run_name} is {run.info.status}"


def open_seal() -> None:
    """Raise AssertionError if the seal was opened before."""
    place = Namespace(home=None, storage=None, tracking=None, artifacts=None)
    look = evaluate(from_arguments(place), STUDY).look
    assert look == 1, f"look {look}"


def main(acknowledged: Path) -> None:
    """The command."""
    home, found = Path(os.environ["SIEVE_HOME"]), Findings()
    service = Service(acknowledged.parent, os.environ["SIEVE_STORAGE"])
    service.home = home
    values = {int(trial_id): value for trial_id, value in json.loads(acknowledged.read_text()).items()}
    count_trials(service, values, found)
    tracking_url = f"sqlite:///{home / names.TRACKING_FILE}"
    checks: Mapping[str, Callable[[], object]] = {
        "files": lambda: check_files(home),
        "MLflow": lambda: check_mlflow(tracking_url),
        "champion": lambda: check_champion(tracking_url, STUDY, acknowledged.parent),
        "seal": open_seal,
    }
    for name, check in checks.items():
        try:
            check()
        except Exception as error:
            found.problems.append(f"{name}: {error}")
        else:
            found.champions += name == "champion"
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
