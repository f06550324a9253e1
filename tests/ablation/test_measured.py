"""The measured ablations in the docs are of the shipped files, and their pages say what their results hold."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from rlkit.ablation.reading import load_ablation
from rlkit.ablation.results import load, settings_of
from rlkit.cli import main
from rlkit.config import differences
from rlkit.yaml_files import read_yaml_file

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / f"docs/{name}.md" for name in ("ablations_measured", "ablations_memory", "grpo_settings")]
FOLDERS = sorted(path.parent for path in (ROOT / "docs/ablations").glob("*/results.json"))
IN_FILES = ["em"]  # what table.md and plot.svg show; every other metric stands in the results
ON_PAGES = {"memory": ["em", "session_jaccard"]}  # a page may show more


def made(folder: Path, out: Path, metric: str) -> Path:
    assert (
        main(["ablate", "--from", str(folder / "results.json"), "--out", str(out / metric), "--metrics", metric]) == 0
    )
    return out / metric


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_results_are_those_of_the_shipped_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ablation, results = load_ablation(Path(f"configs/ablate/{folder.name}.yaml")), load([folder / "results.json"])
    assert differences(results.settings, settings_of(ablation)) == []
    assert set(results.seeds) <= set(ablation.seeds)
    assert all(command.startswith(f"rlkit ablate configs/ablate/{folder.name}.yaml") for command in results.commands)


def test_the_set_with_a_wider_model_differs_in_the_model_and_the_seeds_alone() -> None:
    small, wide = (dict(read_yaml_file(ROOT / f"configs/ablate/{name}.yaml")) for name in ("care", "care_wide"))
    assert not {*small.pop("seeds")} & {*wide.pop("seeds")}
    bases = [ablation["before"].pop("base") for ablation in (small, wide)]
    assert bases[1].pop("hidden_size") == 320
    assert [base.pop("steps") for base in bases] == [700, 500]
    assert bases[0] == bases[1]
    for name in ("title", "output_dir"):
        assert small.pop(name) != wide.pop(name)
    assert small == wide


def test_the_controls_of_the_settings_stand_in_the_set_of_three_hops() -> None:
    settings, hops = (load([ROOT / f"docs/ablations/{name}/results.json"]).runs for name in ("tuning", "hops"))
    default, linear = (
        {run.seed: run.figures for run in runs if run.stage == stage}
        for runs, stage in ((settings, "default"), (hops, "linear"))
    )
    assert len(default) == 5
    assert default == linear
    assert {"more_sft", "rejection_sft", "random_accuracy", "easy_only", "hard_only", "constant_mix"} <= {run.stage for run in hops}  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_table_and_plot_are_made_of_the_results(folder: Path, tmp_path: Path) -> None:
    (metric,) = IN_FILES
    again = made(folder, tmp_path, metric)
    assert (again / "table.md").read_text("utf-8") == (folder / "table.md").read_text("utf-8")
    # the drawing itself is matplotlib's, of whatever version
    titles = [ElementTree.parse(place / "plot.svg").findtext("{http://www.w3.org/2000/svg}desc") for place in (again, folder)]  # fmt: skip
    assert titles[0] == titles[1]
    assert titles[0]


def test_every_figure_of_the_pages_stands_in_a_table(tmp_path: Path) -> None:
    tables = [made(folder, tmp_path / folder.name, metric) / "table.md" for folder in FOLDERS for metric in ON_PAGES.get(folder.name, IN_FILES)]  # fmt: skip
    rows = {line for table in tables for line in table.read_text("utf-8").splitlines()}
    for page in PAGES:
        told = [line for line in page.read_text("utf-8").splitlines() if re.match(r"\|.*(±| to [+-])", line)]
        assert len(told) > 10
        assert [line for line in told if line not in rows] == []
