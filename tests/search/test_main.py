"""The command `sieve`: what it lists, how it names itself, and what it completes."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import search
from search import main as sieve
from search.cli import program

ROOT = Path(__file__).parents[2]
SIEVE = "import sys; sys.argv[0] = '/usr/bin/sieve'; from search.main import main; sys.exit(main())"


def run(*command: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_every_module_that_is_a_command_has_a_name_and_a_line_in_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    package = Path(search.__file__).parent
    modules = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in package.rglob("*.py")
        if "sys.exit(main_guard(main))" in path.read_text() and path.name != "cli.py"
    }
    assert {command.module for command in sieve.COMMANDS.values()} == modules | {"models.complexity"}
    assert sieve.main([]) == 0
    listed = capsys.readouterr().out
    width = max(map(len, sieve.COMMANDS))
    assert all(f"  {name:{width}}  {command.summary}\n" in listed for name, command in sieve.COMMANDS.items())


def test_python_m_search_lists_the_same_commands() -> None:
    assert run("-m", "search") == run("-c", SIEVE)


def test_the_list_is_printed_without_any_library_that_takes_long_to_import() -> None:
    code = "import sys; from search.main import main; main([]); print(*sys.modules)"
    imported = run("-c", code)[1].split()
    assert not {"sqlalchemy", "optuna", "torch", "mlflow", "rich", "numpy"} & set(imported)


def test_a_command_that_does_not_exist_is_one_line_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert sieve.main(["evalute", "--study", "partA"]) == 2
    assert capsys.readouterr().err == "error: sieve has no command 'evalute'. Did you mean 'evaluate'?\n"


@pytest.mark.parametrize(
    ("called", "named"),
    [
        ("/home/user/.venv/bin/sieve", "sieve status"),
        (str(Path(search.__file__).with_name("__main__.py")), "python -m search status"),
        (str(Path(search.__file__).with_name("status.py")), "python -m search.status"),
    ],
)
def test_help_and_errors_name_a_command_as_the_user_typed_it(
    called: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert program("search.status") == named


def test_an_option_that_sieve_does_not_have_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert sieve.main(["--nonsense"]) == 2
    assert capsys.readouterr().err == "error: sieve: unrecognized arguments: --nonsense; --help lists the options\n"


def test_an_error_of_a_command_is_one_line_under_the_name_sieve() -> None:
    code, out, err = run("-c", SIEVE, "status", "--nonsense")
    assert (code, out) == (2, "")
    assert err == "error: sieve status: unrecognized arguments: --nonsense; --help lists the options\n"


def test_complexity_which_lives_outside_search_gives_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert sieve.main(["complexity", "--image-size", "8", "--set", "conv_layers=1", "--json"]) == 0
    assert sieve.main(["complexity", "--set", "conv_layers=0"]) == 2
    assert capsys.readouterr().err.startswith("error: conv_layers='0'")


def test_the_version_is_the_one_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sieve.main(["--version"])
    assert capsys.readouterr().out.startswith("sieve ")


@pytest.mark.parametrize("place", ["docker-compose.yml", "docs/recipes/kubernetes.yaml", "CHANGELOG.md"])
def test_the_version_is_the_same_everywhere(place: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    text = (ROOT / place).read_text()
    assert f"sieve:{version}" in text or f"## [{version}]" in text


def test_bash_completes_commands_options_and_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sieve.main(["--completion", "bash"]) == 0
    (tmp_path / "sieve.bash").write_text(capsys.readouterr().out)

    def completed(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in ("sieve", *words))
        ask = (
            f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; _shtab_sieve sieve '{words[-1]}' x; echo ${{COMPREPLY[@]}}"
        )
        done = subprocess.run(
            ["bash", "-c", f"source {tmp_path}/sieve.bash; {ask}"], capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert completed("ev") == ["evaluate"]
    assert completed("run", "--trials") == ["--trials-scale"]
    assert completed("run", "--study", "quick") == ["quickstart"]
