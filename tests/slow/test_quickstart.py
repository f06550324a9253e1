"""`rlkit quickstart` learns: GRPO beats SFT and equally long further SFT on held-out contexts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runs_for_real import environment

pytestmark = pytest.mark.slow


def test_the_quickstart_learns_to_retrieve(tmp_path: Path) -> None:
    """One seed of those in the README, with bars a little below its figures: another CPU rounds in another order."""
    variables = {key: value for key, value in environment(tmp_path).items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-m", "rlkit", "quickstart", "--seed", "102", "--json"],
        cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    table = result["table"]
    assert set(table) == {"base", "sft", "more_sft", "grpo"}
    assert all(metrics["n"] == 400 for levels in table.values() for metrics in levels.values())
    hard = {model: table[model]["hard"]["em"] for model in table}
    assert hard["grpo"] >= 0.87
    assert hard["grpo"] - hard["sft"] >= 0.20
    assert hard["grpo"] - hard["more_sft"] >= 0.15
    assert table["grpo"]["long"]["em"] >= 0.75
    assert table["grpo"]["hard"]["evidence_recall"] >= 0.92

    (folder,) = (tmp_path / "runs").iterdir()
    again = subprocess.run(
        [sys.executable, "-m", "rlkit", "quickstart", "--seed", "102", "--folder", str(folder)],
        cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert again.returncode == 2
    assert "is not empty and is not overwritten" in again.stderr
    # the saved completions are in the layout that `rlkit score` reads, and the config that made the model scores them
    scored = subprocess.run(
        [sys.executable, "-m", "rlkit", "score", str(folder / "evaluation" / "grpo-hard.jsonl"), "--rewards", "care", "--json"],
        cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert json.loads(scored.stdout)["parts"]["accuracy"]["mean"] >= 0.87
