"""What the documentation shows works: Python blocks run, YAML blocks are valid, commands parse and name real files."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import sys
import types
from pathlib import Path

import pytest

from rewards.config import from_config as rewards_from_config
from rlkit import cli
from rlkit.ablation.reading import load_ablation
from rlkit.config import load_config, parse_config
from rlkit.data import normalise
from rlkit.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = ("python", "yaml", "bash", "json", "text")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_block_has_a_language_that_is_tested(page: Path) -> None:
    fences = re.findall(r"^```(\w*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(language in LANGUAGES for language in fences[::2]), fences[::2]


def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    module = types.ModuleType("documentation")  # a real one, as dataclasses and pickle look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), module.__dict__)


def test_yaml_blocks_are_valid(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    for block in blocks(page, "yaml"):
        values = read_yaml(block, page.name)
        if "method" in values:
            values = parse_config(values).to_dict()
        if values.get("rewards"):
            rewards_from_config(values["rewards"])
        if "curriculum" in values:
            from curricula import from_config

            from_config(values["curriculum"], values.get("sources", ["easy", "hard"]))


def test_json_blocks_are_records(page: Path) -> None:
    for block in blocks(page, "json"):
        normalise(json.loads(block), page.name)


def commands(page: Path) -> list[list[str]]:
    """The words of every `rlkit` command that a page shows, launchers and `make` apart."""
    found = []
    for block in blocks(page, "bash"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            words = words[: words.index(">")] if ">" in words else words
            if words and words[0] in ("rlkit", "deepspeed", "torchrun") and "rlkit" in words:
                found.append(words[words.index("rlkit") + 1 :])
    return found


def test_commands_parse_and_name_real_files(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        if words[0].startswith("--"):
            continue
        module = importlib.import_module(cli.VERBS[words[0]][0])
        parser = argparse.ArgumentParser(exit_on_error=False)
        module.add_arguments(parser)
        args = parser.parse_args(words[1:])
        if words[0] == "ablate" and args.config.startswith("configs/"):
            load_ablation(Path(args.config))
        elif getattr(args, "config", "").startswith("configs/"):
            load_config(args.config, args.overrides)


def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for block in blocks(page, "bash"):
        for target in re.findall(r"^make ([\w-]+)", block, re.MULTILINE):
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
