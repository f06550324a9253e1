"""The measured ablations in the docs are of the shipped files, and their page says what their results hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlkit.ablation.results import load, settings_of
from rlkit.ablation.settings import load_ablation
from rlkit.cli import main
from rlkit.config import differences

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/ablations_measured.md"
SHOWN = ["em"]  # what the tables show; every other metric stands in the results
FOLDERS = sorted(path.parent for path in (ROOT / "docs/ablations").glob("*/results.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_results_are_those_of_the_shipped_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ablation, results = load_ablation(Path(f"configs/ablate/{folder.name}.yaml")), load([folder / "results.json"])
    assert differences(results.settings, settings_of(ablation)) == []
    assert set(results.seeds) <= set(ablation.seeds)
    assert all(command.startswith(f"rlkit ablate configs/ablate/{folder.name}.yaml") for command in results.commands)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_table_is_made_of_the_results(folder: Path, tmp_path: Path) -> None:
    assert main(["ablate", "--from", str(folder / "results.json"), "--out", str(tmp_path), "--metrics", *SHOWN]) == 0
    assert (tmp_path / "table.md").read_text("utf-8") == (folder / "table.md").read_text("utf-8")
    assert (folder / "plot.svg").is_file()


def test_every_figure_of_the_page_stands_in_a_table() -> None:
    made = {line for folder in FOLDERS for line in (folder / "table.md").read_text("utf-8").splitlines()}
    told = [line for line in PAGE.read_text("utf-8").splitlines() if re.match(r"\|.*(±| to [+-])", line)]
    assert len(told) > 10
    assert [line for line in told if line not in made] == []
