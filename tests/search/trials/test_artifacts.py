"""Checkpoints and classifiers between machines that share no home: a folder, a store in memory, a real S3 service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from data.errors import ArtifactsAway, UserError
from models.bundle import load_bundle
from models.training.state import TrainingState
from search import names
from search.settings import Settings
from search.stage.pinning import pin_confirmation
from search.store.claims import finish, release
from search.store.find import find_study
from search.store.records import create_study
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.timing import Timing
from search.trials.artifacts import Artifacts, ObjectStore, SharedFolder, open_artifacts
from search.trials.interruption import WorkerStopped
from search.trials.trial_context import TrialContext
from search.trials.working_files import remove_working_files
from search.trials.workload import WorkloadBuilder
from studies.definition import Confirm
from tests.search.conftest import CONFIG, CPU, open_stage, settings_at, tiny


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 service on this machine."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    for key, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).makedirs("sieve", exist_ok=True)
    yield f"s3://sieve/{tmp_path.name}"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(params=["folder", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of each kind."""
    if request.param == "s3":
        return str(request.getfixturevalue("s3"))
    return (tmp_path / "shared").as_uri() if request.param == "folder" else f"memory://{tmp_path.name}"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One with a home of its own."""

    artifacts: Artifacts
    context: TrialContext


@pytest.fixture
def make_machine(
    url: str, sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Machine]:
    """Makes machines that share nothing but the database and the place for artifacts."""

    def make(name: str, on_epoch: Callable[..., None] = lambda claim, metrics, config: None) -> Machine:
        artifacts = open_artifacts(replace(settings_at(tmp_path / name), artifacts_url=url), Timing(back_up_s=0.0))
        artifacts.check()
        context = TrialContext(storage=sqlite, workloads=digits, device=CPU, artifacts=artifacts, on_epoch=on_epoch)
        return Machine(artifacts=artifacts, context=context)

    return make


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Epochs that are trained from here on, wherever."""
    epochs: list[int] = []
    train_epoch = TrainingState.train_epoch

    def counted(self: TrainingState, epoch: int, *args: Any) -> Any:
        epochs.append(epoch)
        return train_epoch(self, epoch, *args)

    monkeypatch.setattr(TrainingState, "train_epoch", counted)
    return epochs


def test_a_trial_resumes_from_the_checkpoint_of_another_machine(
    sqlite: Storage, make_machine: Callable[..., Machine], trained: list[int]
) -> None:
    def stop_after_two(claim: object, metrics: Any, config: object) -> None:
        if metrics.epoch == 2:
            raise WorkerStopped

    stage = open_stage(sqlite, epochs=3, trials=1, space={})
    claim = stage.claim()
    with pytest.raises(WorkerStopped):
        stage.run(claim, make_machine("first", stop_after_two).context)
    release(sqlite, claim)
    second, claim = make_machine("second"), stage.claim()

    result = stage.run(claim, second.context)

    assert (result.outcome, trained) == ("complete", [1, 2, 3])
    remove_working_files(second.artifacts, stage.record, claim.number)
    third = make_machine("third")
    folder = names.trial_folder(third.artifacts.root, "tiny", "one", claim.number)
    third.artifacts.fetch(folder)
    assert not folder.exists()


def test_a_finalist_s_classifier_is_found_from_another_machine(
    sqlite: Storage, make_machine: Callable[..., Machine]
) -> None:
    stage = open_stage(sqlite, pin_confirmation(tiny(), Confirm(finalists=1, seeds=1, epochs=1), [CONFIG]), position=1)
    claim, worker, supervisor = stage.claim(), make_machine("worker"), make_machine("supervisor")
    finish(sqlite, claim, stage.run(claim, worker.context))
    remove_working_files(worker.artifacts, stage.record, claim.number)

    folder = names.trial_folder(supervisor.artifacts.root, "tiny", "confirm", claim.number)
    supervisor.artifacts.fetch(folder)

    assert len(load_bundle(folder / names.BUNDLE_FOLDER).classes) == 10
    assert {path.name for path in folder.iterdir()} == {names.BUNDLE_FOLDER, "answers"}


def open_store(home: Path, timing: Timing) -> ObjectStore:
    """A store in memory."""
    opened = open_artifacts(replace(settings_at(home), artifacts_url=f"memory://{home.name}"), timing)
    assert isinstance(opened, ObjectStore)
    return opened


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(tmp_path, Timing())


def test_checkpoints_are_uploaded_only_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    for back_up_s, expected in ((3600.0, 0), (0.0, 1)):
        store = open_store(tmp_path, Timing(back_up_s=back_up_s))
        monkeypatch.setattr(MemoryFileSystem, "put_file", lambda *args: sent.append(args))
        store.back_up(store.root / "checkpoint.pt")
        assert len(sent) == expected


def test_a_store_that_does_not_answer_is_a_warning_for_a_checkpoint_and_an_error_for_a_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(tmp_path, Timing(back_up_s=0.0, outage_s=0.2))

    def away(*args: object) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(MemoryFileSystem, "put_file", away)
    folder = store.root / "classifier"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"w")
    store.back_up(folder / "weights")
    assert "nobody answers" in caplog.text
    with pytest.raises(ArtifactsAway, match="nobody answers"):
        store.upload(folder)


def test_an_upload_is_repeated_through_a_short_outage(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ConnectionError("reset"), None])

    def put(*args: object) -> None:
        if (error := next(answers)) is not None:
            raise error

    monkeypatch.setattr(MemoryFileSystem, "put_file", put)
    folder = store.root / "classifier"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"w")
    store.upload(folder)
    assert next(answers, "both were asked for") == "both were asked for"


def test_a_study_s_name_may_contain_pattern_characters(store: ObjectStore, tmp_path: Path) -> None:
    folder = names.trial_folder(store.root, "mine [2]* %41?", "one", 0)
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"content")
    store.upload(folder)
    (folder / "file").unlink()
    store.fetch(folder)
    assert (folder / "file").read_bytes() == b"content"


def settings_with(tmp_path: Path, url: str) -> Settings:
    return replace(settings_at(tmp_path), artifacts_url=url)


def test_by_default_files_lie_below_the_home(tmp_path: Path) -> None:
    opened = open_artifacts(settings_at(tmp_path))
    assert isinstance(opened, SharedFolder) and opened.root == tmp_path


def test_a_store_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--artifacts s4://bucket"):
        open_artifacts(settings_with(tmp_path, "s4://bucket"))


def test_s3_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)  # Known from an earlier test.
    with pytest.raises(UserError, match=r"sieve-search\[s3\]"):
        open_artifacts(settings_with(tmp_path, "s3://bucket/path"))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write here"):
        open_artifacts(settings_with(tmp_path, (tmp_path / "file" / "below").as_uri())).check()


def test_a_worker_whose_supervisor_would_not_find_its_files_is_refused(tmp_path: Path, sqlite: Storage) -> None:
    create_study(sqlite, "mine", definition=StudyDefinition(), data=StudyData())
    study, here = find_study(sqlite, "mine"), SharedFolder(tmp_path / "here")
    here.announce(study)
    here.check_shared(study)
    for root, other in ((tmp_path / "there", study), (here.root, replace(study, created_at=1.0))):
        with pytest.raises(UserError, match="--artifacts"):
            SharedFolder(root).check_shared(other)


@pytest.mark.slow
def test_a_bucket_that_does_not_exist_is_refused(s3: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--artifacts s3://nowhere"):
        open_artifacts(settings_with(tmp_path, "s3://nowhere/path")).check()
