"""Worker processes: real ones, with a script in the place of the interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from data.errors import SieveError, UserError
from search.store.reaping import MAX_LOSSES
from search.supervisor import local_launch
from search.supervisor.early_deaths import MAX_EARLY_DEATHS, EarlyDeaths
from search.supervisor.full_devices import FullDevices
from search.supervisor.gpu_capacity import GpuCapacity
from search.supervisor.launch import WorkerProcess, start_worker
from search.supervisor.local_launch import LocalLauncher
from search.terminal import BAD_INPUT, DEVICE_FULL
from search.timing import DEFAULT_TIMING, Timing
from tests.search.conftest import settings_at
from tests.search.supervisor.test_gpu_capacity import gpu

WAITS = "import time\ntime.sleep(60)\n"
IGNORES_SIGNALS = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('ready', 'w').close()\n{WAITS}"


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def running_workers(count: int) -> list[psutil.Process]:
    """The workers that this process has started and that still run, the oldest first, once there are `count`."""
    wait_for(lambda: len(_workers()) == count)
    return sorted(_workers(), key=psutil.Process.create_time)


def _workers() -> list[psutil.Process]:
    """A worker that was just forked is not among them: it has its parent's command line until it runs its own."""
    running = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in running if "search.worker" in child.cmdline()]


@pytest.fixture
def make_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LocalLauncher]]:
    """Makes launchers whose workers run the given program."""
    made: list[LocalLauncher] = []
    interpreter = sys.executable

    def make(
        program: str, workers: int = 1, *, devices: Sequence[str] = ("cpu",), start: bool = True,
        gpu_capacity: GpuCapacity | None = None, full_devices: FullDevices | None = None,
        timing: Timing = DEFAULT_TIMING,
    ) -> LocalLauncher:  # fmt: skip
        script = tmp_path / "worker"
        script.write_text(f"#!{interpreter} -S\n{program}")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        monkeypatch.chdir(tmp_path)
        settings = replace(settings_at(tmp_path), storage_url="postgresql+psycopg://u:secret@h/d")
        made.append(
            LocalLauncher(
                settings, "mine", list(devices), workers,
                gpu_capacity=gpu_capacity, full_devices=full_devices, timing=timing,
            )
        )  # fmt: skip
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for launcher in made:
        launcher.stop()


def test_a_worker_that_dies_is_restarted(make_launcher: Callable[..., LocalLauncher]) -> None:
    launcher = make_launcher(WAITS, workers=2)
    running_workers(2)[0].kill()
    wait_for(lambda: launcher.alive() == 1)
    assert launcher.restart_dead() == 1
    assert launcher.alive() == 2


def test_a_gpu_with_room_gets_a_worker_that_is_restarted_like_the_others(
    make_launcher: Callable[..., LocalLauncher],
    capsys: pytest.CaptureFixture[str],
) -> None:
    class RoomOnce(GpuCapacity):
        def device_with_room(self, workers: Mapping[str, int]) -> str | None:
            return "cpu" if workers == {"cpu": 1} else None

    launcher = make_launcher(WAITS, gpu_capacity=RoomOnce([]), timing=Timing(early_death_s=0.0))
    assert launcher.restart_dead() == launcher.restart_dead() == 0
    assert launcher.alive() == 2
    assert "cpu has room: starting one more worker on it" in capsys.readouterr().err
    running_workers(2)[-1].kill()
    wait_for(lambda: launcher.alive() == 1)
    assert launcher.restart_dead() == 1
    assert launcher.alive() == 2


def test_an_extra_worker_that_cannot_start_does_not_end_the_study(
    make_launcher: Callable[..., LocalLauncher], capsys: pytest.CaptureFixture[str]
) -> None:
    class AlwaysRoom(GpuCapacity):
        def device_with_room(self, workers: Mapping[str, int]) -> str | None:
            return "cpu"

    launcher = make_launcher(WAITS, gpu_capacity=AlwaysRoom([]))
    launcher.restart_dead()
    running_workers(2)[-1].kill()
    wait_for(lambda: launcher.alive() == 1)
    for _ in range(10):
        launcher.restart_dead()
    assert launcher.alive() == 1
    assert "cpu has no room for another worker" in capsys.readouterr().err


def test_workers_that_die_as_soon_as_they_start_end_the_run_with_the_end_of_their_log(
    make_launcher: Callable[..., LocalLauncher],
) -> None:
    launcher = make_launcher("raise SystemExit('no such device')")
    deaths = 0
    with pytest.raises(SieveError, match=r"workers exit as soon as they start.*no such device"):
        while True:
            wait_for(lambda: not launcher.alive())
            deaths += launcher.restart_dead()
    assert deaths == MAX_EARLY_DEATHS - 1


ENDS_ON = """import sys, time
if sys.argv[sys.argv.index("--device") + 1] in open("ends on").read().split():
    raise SystemExit({code})
time.sleep(60)
"""
"""A worker that ends with a code on the devices that a file names."""
TWO_GPUS = ("cuda:0", "cuda:1")


def let_workers_end(launcher: LocalLauncher, *, alive: int) -> None:
    """Let the launcher restart its workers for longer than a search takes to give up."""
    for _ in range(3 * MAX_EARLY_DEATHS):
        wait_for(lambda: launcher.alive() == alive)
        launcher.restart_dead()


def test_a_worker_whose_gpu_others_fill_starts_again_when_there_is_room(
    make_launcher: Callable[..., LocalLauncher], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ends on").write_text("cuda:0")
    used_mib = [23_000.0]
    full = FullDevices(TWO_GPUS, lambda: [gpu(0, 90, used_mib[0]), gpu(1, 90, 2_000)], timing=Timing(gpu_reading_s=0.0))
    launcher = make_launcher(ENDS_ON.format(code=DEVICE_FULL), 2, devices=TWO_GPUS, full_devices=full)
    let_workers_end(launcher, alive=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cuda:0: other programs fill its memory; the search continues on cuda:1, and uses cuda:0 ag")
    (tmp_path / "ends on").write_text("")
    used_mib[0] = 2_000.0
    launcher.restart_dead()
    assert launcher.alive() == 2
    assert "cuda:0: checking again for free memory" in capsys.readouterr().err


def test_a_search_whose_gpus_are_all_full_waits(
    make_launcher: Callable[..., LocalLauncher], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ends on").write_text("cuda:0")
    full = FullDevices(["cuda:0"], lambda: [gpu(0, 90, 23_000)], timing=Timing(gpu_reading_s=0.0))
    launcher = make_launcher(ENDS_ON.format(code=DEVICE_FULL), 2, devices=["cuda:0"], full_devices=full)
    let_workers_end(launcher, alive=0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "cuda:0: other programs fill its memory; the search waits, and uses cuda:0 again when it has room"


def test_a_device_on_which_no_worker_starts_is_given_up_while_another_works(
    make_launcher: Callable[..., LocalLauncher], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ends on").write_text("cuda:0")
    launcher = make_launcher(ENDS_ON.format(code="'broken'"), 2, devices=TWO_GPUS)
    let_workers_end(launcher, alive=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cuda:0 is no longer used; the search continues on cuda:1: ") and line.endswith("broken")
    (tmp_path / "ends on").write_text("cuda:1")
    running_workers(1)[0].kill()
    with pytest.raises(SieveError, match=r"workers exit as soon as they start.*broken"):
        let_workers_end(launcher, alive=0)


def test_a_run_ends_if_no_worker_starts_on_any_of_its_devices(make_launcher: Callable[..., LocalLauncher]) -> None:
    launcher = make_launcher("raise SystemExit('broken')", 4, devices=TWO_GPUS)
    with pytest.raises(SieveError, match=r"workers exit as soon as they start.*broken"):
        let_workers_end(launcher, alive=0)


def test_a_trial_that_kills_its_workers_is_given_up_before_the_run_is() -> None:
    """A trial's loss number MAX_LOSSES + 1 records it as failed; a run with one worker must outlast that."""
    deaths = EarlyDeaths(workers=1, early_death_s=20.0)
    for _ in range(MAX_LOSSES + 1):
        deaths.count(1.0, log_tail="killed by its trial")


def test_early_deaths_count_only_in_a_row() -> None:
    deaths = EarlyDeaths(workers=1, early_death_s=20.0)
    for death in range(3 * MAX_EARLY_DEATHS):
        deaths.count(60.0 if death % 3 == 2 else 1.0, log_tail="boom")
    with pytest.raises(SieveError, match=r"workers exit as soon as they start.*boom"):
        for _ in range(MAX_EARLY_DEATHS):
            deaths.count(1.0, log_tail="boom")


def test_workers_that_cannot_start_because_of_a_limit_end_the_run_with_what_to_do_about_it() -> None:
    deaths = EarlyDeaths(workers=1, early_death_s=20.0)
    log = "2026-11-27 INFO worker started | error: cannot read or write: /home/x: Too many open files; allow more"
    with pytest.raises(UserError, match=r"^workers exit as soon as they start: cannot read .* open files; allow more$"):
        for _ in range(MAX_EARLY_DEATHS):
            deaths.count(1.0, log, BAD_INPUT)


def test_workers_that_were_asked_to_end_are_not_restarted(make_launcher: Callable[..., LocalLauncher]) -> None:
    launcher = make_launcher(WAITS, workers=2)
    launcher.drain()
    wait_for(lambda: launcher.alive() == 0)
    assert launcher.restart_dead() == 2 and launcher.alive() == 0


def test_a_worker_that_is_started_while_the_user_interrupts_is_asked_to_end_too(
    make_launcher: Callable[..., LocalLauncher], monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = make_launcher(WAITS)
    running_workers(1)[0].kill()
    wait_for(lambda: launcher.alive() == 0)

    def interrupted(*args: object, **options: object) -> WorkerProcess:
        started = start_worker(*args, **options)
        launcher.drain()  # As the handler of Ctrl-C does, before the launcher knows the new worker.
        return started

    monkeypatch.setattr(local_launch, "start_worker", interrupted)
    assert launcher.restart_dead() == 1
    wait_for(lambda: launcher.alive() == 0)


def test_a_worker_that_ignores_signals_is_killed(make_launcher: Callable[..., LocalLauncher], tmp_path: Path) -> None:
    launcher = make_launcher(IGNORES_SIGNALS, timing=Timing(stop_s=0.3))
    (worker,) = running_workers(1)
    wait_for((tmp_path / "ready").exists)
    launcher.stop()
    assert not worker.is_running() and launcher.alive() == 0


def test_workers_that_are_prepared_early_wait_for_the_start(
    make_launcher: Callable[..., LocalLauncher], tmp_path: Path
) -> None:
    launcher = make_launcher("import sys\nopen('input', 'w').write(sys.stdin.readline())\n", start=False)
    launcher.prepare()
    wait_for((tmp_path / "input").exists)
    assert (tmp_path / "input").read_text() == ""
    launcher.start()
    wait_for(lambda: launcher.alive() == 0)
    assert (tmp_path / "input").read_text() == "start\n"


def test_a_worker_imports_what_its_first_trial_needs_while_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_library.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = start_worker(
        settings_at(tmp_path), "mine", 0, device="cpu", threads=1, modules=["no_such_library", "slow_library"]
    )
    wait_for((tmp_path / "imported").exists)
    assert worker.process.poll() is None and worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.process.wait() == 0 and worker.log_tail == ""


def test_a_worker_whose_supervisor_gives_up_before_the_start_ends_without_any_output(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "search.worker", "--study", "mine", "--supervisor-pid", "1"]
    ended = subprocess.run(
        [*command, "--home", str(tmp_path / "home")], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert (ended.stdout, ended.stderr) == (b"", b"") and not (tmp_path / "home").exists()


def test_a_password_is_not_on_a_worker_s_command_line(
    make_launcher: Callable[..., LocalLauncher], tmp_path: Path
) -> None:
    launcher = make_launcher(
        "import json, os, sys\n"
        "open('part', 'w').write(json.dumps([sys.argv, os.environ['SIEVE_STORAGE']]))\n"
        f"os.rename('part', 'seen')\n{WAITS}"
    )
    wait_for((tmp_path / "seen").exists)
    arguments, storage_url = json.loads((tmp_path / "seen").read_text())
    assert "secret" in storage_url and not any("secret" in argument for argument in arguments)
    launcher.stop()
