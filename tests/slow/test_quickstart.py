"""`rlkit quickstart` learns, for both tasks: GRPO beats SFT and equally long further SFT on held-out contexts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs_for_real import environment

pytestmark = pytest.mark.slow

# One seed of those in the README, with bars a little below its figures: another CPU rounds in another order.
SEEDS = {"care": 102, "memory_t1": 201}


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """Both tasks at once, a thread each, on whatever processor time the tests that run meanwhile leave (conftest.py)."""
    processes = {}
    for task, seed in SEEDS.items():
        folder = tmp_path_factory.mktemp(task)
        rlkit = [sys.executable, "-m", "rlkit"]
        command = ["nice", "-n", "19", *rlkit, "quickstart", "--task", task, "--seed", str(seed), "--json"]
        variables = {**environment(folder), "OMP_NUM_THREADS": "1"}
        with (folder / "errors").open("w") as errors:
            process = subprocess.Popen(
                command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        processes[task] = (process, folder)
    yield processes
    for process, _ in processes.values():
        process.kill()


def table_of(process: subprocess.Popen[str], tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """The table of a run, once it has ended, and its folder."""
    printed, _ = process.communicate(timeout=1800)
    assert process.returncode == 0, (tmp_path / "errors").read_text()[-3000:]
    table = json.loads(printed)["table"]
    assert set(table) == {"base", "sft", "more_sft", "grpo", "gold"}
    assert all(metrics["n"] == 400 for levels in table.values() for metrics in levels.values())
    (folder,) = (tmp_path / "runs").iterdir()
    return table, folder


def accuracy_scored_again(folder: Path, task: str, tmp_path: Path) -> float:
    """The saved completions are in the layout that `rlkit score` reads."""
    completions = str(folder / "evaluation" / "grpo-hard.jsonl")
    command = [sys.executable, "-m", "rlkit", "score", completions, "--rewards", task, "--json"]
    scored = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=300
    )
    return json.loads(scored.stdout)["parts"]["accuracy"]["mean"]


@pytest.mark.started_in_background
def test_both_quickstarts_start(started: dict[str, Any]) -> None:
    for process, folder in started.values():
        assert process.poll() is None, (folder / "errors").read_text()[-3000:]


@pytest.mark.waits_for_background
def test_the_quickstart_learns_to_retrieve(started: dict[str, Any]) -> None:
    process, tmp_path = started["care"]
    table, folder = table_of(process, tmp_path)
    hard = {model: table[model]["hard"]["em"] for model in table}
    assert hard["grpo"] >= 0.87
    assert hard["grpo"] - hard["sft"] >= 0.20
    assert hard["grpo"] - hard["more_sft"] >= 0.15
    assert table["grpo"]["long"]["em"] >= 0.75
    assert table["grpo"]["hard"]["evidence_recall"] >= 0.92
    assert accuracy_scored_again(folder, "care", tmp_path) >= 0.87

    command = [sys.executable, "-m", "rlkit", "quickstart", "--seed", "102", "--folder", str(folder)]
    again = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 2
    assert "is not empty and is not overwritten" in again.stderr


@pytest.mark.waits_for_background
def test_the_memory_quickstart_learns_to_choose_by_resolved_day(started: dict[str, Any]) -> None:
    process, tmp_path = started["memory_t1"]
    table, folder = table_of(process, tmp_path)
    for measure in ("answer", "jaccard", "temporal"):
        hard = {model: table[model]["hard"][measure] for model in table}
        assert hard["grpo"] - hard["sft"] >= 0.08, measure
        assert hard["grpo"] - hard["more_sft"] >= 0.08, measure
        assert hard["grpo"] <= hard["gold"]
    assert table["grpo"]["hard"]["jaccard"] >= 0.7
    assert table["grpo"]["easy"]["jaccard"] >= 0.8
    assert table["grpo"]["long"]["jaccard"] - table["more_sft"]["long"]["jaccard"] >= 0.08
    assert table["grpo"]["hard"]["format"] >= 0.98
    assert accuracy_scored_again(folder, "memory_t1", tmp_path) >= table["grpo"]["hard"]["answer"] - 0.001
