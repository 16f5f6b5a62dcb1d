"""Bad input: exit code 2, one line with what was wrong and what to do, no traceback, and nothing written."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch
from PIL import Image

from search import names
from search.store.records import create_study
from search.store.storage import open_storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.urls import sqlite_url
from tests.acceptance.forks import run_forked
from tests.acceptance.service import Finished, Service
from tests.forkserver import FORKS, LIBRARIES

MAX_LINES = 3


def make_images(folder: Path, images: dict[str, int]) -> None:
    """Make class folders with this many different images each."""
    for label, (name, count) in enumerate(images.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8), (number, 50 * label, len(folder.name))).save(folder / name / f"{number}.png")


def _assert_refused(ended: Finished, says: str) -> None:
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert 1 <= len(ended.err.strip().splitlines()) <= MAX_LINES, ended.err
    assert says in ended.err


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder of broken inputs for the commands below."""
    folder = tmp_path / "inputs"
    for made in ("empty", "one-class/train/a"):
        (folder / made).mkdir(parents=True)
    definition = (
        "from models.config import FlexCNNConfig\nfrom studies.definition import Stage, Study, choice\n"
        "STUDY = Study(name='mine', description='', data='digits', config=FlexCNNConfig(image_size=8),\n"
        "    stages=(Stage(name='a', trials=2, epochs=1, space={'droput': choice(0.0, 0.1)}),))\n"
    )
    make_images(folder / "one-image/train", {"a": 10, "b": 1})
    make_images(folder / "differ/train", {"a": 10, "b": 10})
    make_images(folder / "differ/test", {"a": 5, "c": 5})
    torch.save({"layer.weight": torch.zeros(1)}, folder / "other.pt")
    (folder / "no.pt").write_bytes(b"no weights at all")
    (folder / "imports.py").write_text("import not_installed\n")
    (folder / "exits.py").write_text("raise SystemExit(0)\n")
    (folder / "boom.py").write_text("raise RuntimeError('boom')\n")
    (folder / "syntax.py").write_text("STUDY = (\n")
    (folder / "nothing.py").write_text("studies = []\n")
    (folder / "unknown_field.py").write_text(definition)
    return folder


ON_DIGITS = "--study hymenoptera --data digits"
RUNS = {
    "a study that does not exist": ("--study partX", "did you mean 'partA'"),
    "a study file that does not exist": ("--study INPUTS/none.py", "no study file"),
    "a study file that raises": ("--study INPUTS/boom.py", "boom.py, line 1: RuntimeError: boom"),
    "a study file with a syntax error": ("--study INPUTS/syntax.py", "SyntaxError"),
    "a study file that defines no STUDY": ("--study INPUTS/nothing.py", "defines no STUDY"),
    "a space with an unknown field": ("--study INPUTS/unknown_field.py", "Did you mean 'dropout'"),
    "a folder that does not exist": ("--study partA --data INPUTS/nowhere", "nowhere"),
    "a folder without images": ("--study partA --data INPUTS/empty", "INPUTS/empty"),
    "a folder with one class": ("--study partA --data INPUTS/one-class", "INPUTS/one-class"),
    "a study file whose import is missing": ("--study INPUTS/imports.py", "imports.py, line 1: ModuleNotFoundError"),
    "a study file that ends the program": ("--study INPUTS/exits.py", "exits.py, line 1: SystemExit"),
    "a class too small to be split": ("--study partA --data INPUTS/one-image", "INPUTS/one-image"),
    "classes that differ between train and test": ("--study partA --data INPUTS/differ", "INPUTS/differ"),
    "weights that are not there": (f"{ON_DIGITS} --set weights=INPUTS/none.pt", "INPUTS/none.pt: cannot be read"),
    "weights that are not weights": (
        f"{ON_DIGITS} --set weights=INPUTS/no.pt",
        "INPUTS/no.pt: not a file that holds only tensors",
    ),
    "weights of another network": (f"{ON_DIGITS} --set weights=INPUTS/other.pt", "do not fit resnet18 (missing: bn1"),
    "weights that fit no backbone of the space": (
        "--study partB --data digits --backbones resnet18,mobilenet_v3_small --set weights=INPUTS/other.pt",
        "none of its 2 backbones has usable weights; first error: weights=INPUTS/other.pt: do not fit",
    ),
    "images of a size that the backbone cannot read": (
        f"{ON_DIGITS} --set backbone=vit_b_16 --set weights=none --set image_size=20",
        "image_size=20: vit_b_16 cuts images into patches of 16 px",
    ),
    "workers for GPUs on a CPU": ("--study quickstart --devices cpu --workers auto", "--workers auto"),
    "a gang of no heads": ("--study quickstart --gang-size 0", "--gang-size '0'"),
    "a trial timeout that is not a duration": ("--study quickstart --trial-timeout soon", "--trial-timeout 'soon'"),
    "a field that does not exist": ("--study quickstart --set droput=0.1", "Did you mean 'dropout'"),
    "a value of the wrong kind": ("--study quickstart --set dropout=lots", "dropout='lots'"),
    "a field without a value": ("--study quickstart --set dropout", "FIELD=VALUE"),
    "an image size of zero": ("--study quickstart --set image_size=0", "image_size='0'"),
    "an image size of zero as an option": ("--study quickstart --image-size 0", "image_size=0"),
    "no trials": ("--study quickstart --trials-scale 0", "--trials-scale 0"),
    "negative epochs": ("--study quickstart --epochs-scale -1", "--epochs-scale -1"),
    "a scale that is not a number": ("--study quickstart --trials-scale nan", "--trials-scale nan"),
    "a negative number of workers": ("--study quickstart --workers -1", "--workers -1"),
    "workers that are not a number": ("--study quickstart --workers two", "'two': give a number, or auto"),
    "a device that is not there": ("--study quickstart --devices cuda:7", "cuda:7"),
    "a device that does not exist": ("--study quickstart --devices tpu", "--devices tpu"),
    "a time that is not a duration": ("--study quickstart --budget soon", "--budget 'soon'"),
    "an option that does not exist": ("--study quickstart --trails-scale 1", "--trails-scale"),
    "no study at all": ("", "--study"),
    "a name with a slash": ("--study quickstart --name a/b", "a/b"),
    "a name that leads out of the home": ("--study quickstart --name ..", ".."),
    "a database that is not supported": ("--study quickstart --storage mysql://u:secret@h/d", "mysql"),
    "a database that does not answer": (
        "--study quickstart --storage postgresql://nobody@127.0.0.1:1/none",
        "does not answer",
    ),
    "artifacts in a store of an unknown kind": ("--study quickstart --artifacts s4://bucket/path", "--artifacts s4://"),
    "a part of a GPU above 1": ("--study quickstart --launcher ray --gpus-per-worker 2", "--gpus-per-worker 2"),
    "a Ray cluster that does not run": ("--study quickstart --launcher ray", "ray start --head"),
    "a database without a URL": ("--study quickstart --storage postgresql:/nobody", "--storage"),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_run_is_refused_for(case: str, inputs: Path, tmp_path: Path) -> None:
    line, says = (text.replace("INPUTS", str(inputs)) for text in RUNS[case])
    home = tmp_path / "home"

    ended = run_forked("search.run", ["--home", str(home), *line.split()], tmp_path / "here")

    _assert_refused(ended, says)
    assert "secret" not in ended.err
    assert not home.exists()
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["stderr", "stdout"]


ON_A_STUDY = ("search.worker", "search.status", "search.evaluate", "search.predict")


def _run_on_a_study_that_does_not_exist(module: str, home: Path, tmp_path: Path) -> Finished:
    picture = tmp_path / "picture.png"
    Image.new("L", (8, 8)).save(picture)
    images = [str(picture)] if module == "search.predict" else []
    return run_forked(module, ["--home", str(home), "--study", "nobody", *images], tmp_path / "here")


@pytest.mark.parametrize("module", ON_A_STUDY)
def test_a_command_is_refused_for_a_study_that_the_database_does_not_hold(module: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with closing(open_storage(sqlite_url(home / names.STORAGE_FILE), create=True)) as storage:
        create_study(storage, "somebody", definition=StudyDefinition(), data=StudyData())

    ended = _run_on_a_study_that_does_not_exist(module, home, tmp_path)

    _assert_refused(ended, "no study 'nobody'")


@pytest.mark.parametrize("module", ON_A_STUDY)
def test_a_command_is_refused_for_a_database_that_does_not_exist(module: str, tmp_path: Path) -> None:
    ended = _run_on_a_study_that_does_not_exist(module, tmp_path / "home", tmp_path)

    _assert_refused(ended, "no studies at")
    assert not (tmp_path / "home").exists()


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("mine")

    ended = run_forked("search.run", ["--home", str(home), "--study", "quickstart"], tmp_path / "here")

    _assert_refused(ended, str(home))
    assert home.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_home_in_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    parent = tmp_path / "read-only"
    parent.mkdir(mode=0o500)

    ended = run_forked("search.run", ["--home", str(parent / "home"), "--study", "quickstart"], tmp_path / "here")

    _assert_refused(ended, str(parent))
    assert not any(parent.iterdir())


def test_a_home_where_no_folder_can_be_made_is_refused(tmp_path: Path) -> None:
    ended = run_forked("search.run", ["--home", "/proc/home", "--study", "quickstart"], tmp_path / "here")

    _assert_refused(ended, "/proc/home")


def test_a_fork_has_imported_what_takes_seconds_but_no_command() -> None:
    """A name that cannot be imported would only make the tests slow."""
    fork = FORKS.Process(target=_exit_with_what_is_imported)
    fork.start()
    fork.join()
    assert fork.exitcode == 0


def _exit_with_what_is_imported() -> None:
    libraries = {library.partition(".")[0] for library in LIBRARIES}
    sys.exit(not (libraries <= sys.modules.keys() and not {"search.run", "search.evaluate"} & sys.modules.keys()))


def test_the_program_itself_refuses_as_its_forks_do(service: Service) -> None:
    ended = service.run("search.run", "--study", "partX")

    _assert_refused(ended, "did you mean 'partA'")
    assert not service.home.exists()
