"""The documentation builds as a site without a warning, and the map from paper to code leads to code."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = re.findall(r"`((?:rewards|curricula|rlkit|trl)\.[\w.]+)`", (ROOT / "docs" / "paper_map.md").read_text("utf-8"))


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "reference" / "rewards" / "index.html").read_text("utf-8")
    assert "token_f1" in page
    assert "&gt;&gt;&gt; " in page  # doctests are shown as code
    assert not re.search(r"(?:src|href)=\"https?://(?:fonts|cdn|unpkg)", page)  # nothing is fetched from elsewhere


def test_no_page_stands_twice_in_the_navigation() -> None:
    pages = re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), flags=re.MULTILINE)
    assert len(pages) > 25
    assert len(pages) == len(set(pages))


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_the_map_leads_to_code(name: str) -> None:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return
    pytest.fail(f"{name} is nowhere")


def test_the_map_is_not_empty() -> None:
    assert len(set(NAMES)) > 25


def test_doctests_are_fenced() -> None:
    spec = importlib.util.spec_from_file_location("fence_doctests", ROOT / "docs" / "fence_doctests.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert doctest.testmod(module) == (0, 1)
