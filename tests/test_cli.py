"""The command line is quick, imports nothing heavy for its help, and turns errors into one message and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rlkit import cli

HEAVY = ("torch", "transformers", "trl", "datasets", "deepspeed")


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rlkit", *arguments], capture_output=True, text=True, cwd=cwd, timeout=120
    )


@pytest.mark.parametrize("arguments", [["--help"], *[[verb, "--help"] for verb in cli.VERBS]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from rlkit import cli
try:
    cli.main({arguments!r})
except SystemExit as end:
    assert end.code == 0
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == "[]"
    assert "usage:" in done.stdout


def test_every_verb_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    overview = capsys.readouterr().out
    for verb, (_, _, example) in cli.VERBS.items():
        assert example.startswith(f"rlkit {verb} ")
        assert example in overview


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_example_of_a_verb_can_be_copied(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    assert f"example: {cli.VERBS[verb][2]}\n" in capsys.readouterr().out


def test_a_wrong_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert "no verb 'trian'. Did you mean 'train'?" in capsys.readouterr().err


def test_an_error_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    done = run("train", "missing.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: missing.yaml: there is no such config file.")
    assert "Traceback" not in done.stderr


def test_the_launchers_rank_argument_is_not_taken_for_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--local_rank=1", "--version"]) == 0
    assert capsys.readouterr().out.strip()


def test_a_reader_that_stops_reading_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m rlkit --help | head -n 1", shell=True, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_of_the_command_line_is_the_command_line() -> None:
    """Every verb once, and --json exactly where the page says that there is something to print."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "command_line.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([\w-]+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE))
    assert list(told) == list(cli.VERBS)
    for verb, about in told.items():
        parser = argparse.ArgumentParser()
        importlib.import_module(cli.VERBS[verb][0]).add_arguments(parser)
        assert ("--json" in parser.format_help()) == (not about.startswith("no")), verb


def test_a_reader_that_has_seen_enough_is_no_finding() -> None:
    """`rlkit check ... | head -1`: exit code 1 would mean that something was found."""
    root = Path(__file__).resolve().parents[1]
    check = f"{sys.executable} -m rlkit check configs/quickstart/grpo.yaml --limit 5 model.model_name_or_path=x"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{check} | true"], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
