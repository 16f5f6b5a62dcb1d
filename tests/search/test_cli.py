"""What every command does with its options and its errors."""

from __future__ import annotations

import errno
import json
import sys
import time

import psutil
import pytest
from sqlalchemy.exc import OperationalError

from data.errors import SealBroken, SieveError, UserError
from search import main, run
from search.cli import LONGEST_START_S, command_age_s, command_parser, main_guard
from search.main import module_of
from search.terminal import print_json


def raising(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("no such folder"), 2), (SieveError("it failed"), 1), (SealBroken("looked"), 1)],
)
def test_an_error_raised_on_purpose_is_one_line_and_an_exit_code(capsys, error, code):
    assert main_guard(raising(error)) == code
    assert capsys.readouterr() == ("", f"error: {error}\n")


@pytest.mark.parametrize("called", ["/usr/bin/sieve", run.__file__, main.__file__])
def test_a_command_is_as_old_as_its_process(monkeypatch, called):
    monkeypatch.setattr(sys, "argv", [called])
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: time.time() - 5.0)
    assert command_age_s() == pytest.approx(5.0, abs=1.0)


@pytest.mark.parametrize(("created_s", "age_s"), [(1e5, 0.0), (-1e5, LONGEST_START_S)])
def test_a_clock_that_was_set_changes_the_age_of_a_command_by_a_minute_at_most(monkeypatch, created_s, age_s):
    monkeypatch.setattr(sys, "argv", ["sieve"])
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: time.time() + created_s)
    assert command_age_s() == age_s


def test_a_program_that_calls_a_command_has_no_age():
    assert command_age_s() == 0.0


def wrapped(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FULL = OSError(errno.ENOSPC, "No space left on device", "runs/sieve.db")
AWAY = OperationalError("SELECT secret", {}, Exception("server closed the connection\nunexpectedly"))


@pytest.mark.parametrize("error", [FULL, wrapped(RuntimeError("could not write"), FULL)])
def test_a_full_disk_is_one_line_for_any_command(capsys, error):
    assert main_guard(raising(error)) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("error", [AWAY, wrapped(RuntimeError("what Optuna makes of it"), AWAY)])
def test_a_database_that_stays_away_is_one_line_without_its_query(capsys, error):
    assert main_guard(raising(error)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the database does not answer: server closed the connection;")


def test_an_interrupted_command_ends_with_130():
    assert main_guard(raising(KeyboardInterrupt())) == 130


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        main_guard(lambda: 1 / 0)


def test_a_command_that_succeeds_ends_with_0():
    assert main_guard(lambda: "anything") == 0


def test_a_wrong_option_is_one_line(capsys):
    parser = command_parser("search.status", "Shows.")
    assert main_guard(lambda: parser.parse_args(["--nonsense"])) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: python -m search.status: unrecognized arguments: --nonsense; --help lists the options"
    )


def test_json_is_one_object_without_nan(capsys):
    print_json({"name": "Blüte", "values": [1.5]})
    assert json.loads(capsys.readouterr().out) == {"name": "Blüte", "values": [1.5]}
    with pytest.raises(ValueError, match="JSON"):
        print_json({"value": float("nan")})


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
@pytest.mark.parametrize(
    ("command", "option"), [("watch", "--port"), ("dashboard", "--port"), ("dashboard", "--mlflow-port")]
)
def test_a_number_that_is_no_port_is_one_line(tmp_path, capsys, command, option, port):
    assert main_guard(lambda: module_of(command).main(["--home", str(tmp_path), option, port])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"argument {option}: {port} is not a port; give a number from 0 to 65535" in line
    assert list(tmp_path.iterdir()) == []
