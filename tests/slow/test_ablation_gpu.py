"""The set for one GPU runs from end to end: `rlkit ablate` on it in miniature, from text files to the table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runs_for_real import environment
from small_gpu_set import FILES, ROOT, write_small

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.skipif(not all(path.exists() for path in FILES.values()), reason="../shared/data is not there"),
]


def test_two_variants_of_the_set_in_miniature(tmp_path: Path) -> None:
    small = write_small(tmp_path / "gpu")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "rlkit", "ablate", str(small / "care.yaml"), f"output_dir={out}", "--seeds", "3"]
    done = subprocess.run(
        [*command, "--only", "verbatim", "sufficiency", "--jobs", "2"],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    logs = "".join(path.read_text()[-2000:] for path in out.rglob("*.log"))
    assert done.returncode == 0, done.stderr[-2000:] + logs
    results = json.loads((out / "results.json").read_text())
    measured = {(one["variant"], one["subset"]) for one in results["means"]}
    assert {variant for variant, _ in measured} == {"base", "sft", "verbatim", "sufficiency"}
    assert {subset for _, subset in measured} >= {"changed_long", "hotpotqa_long", "musique"}
    base = json.loads((out / "seed3" / "base" / "model" / "config.json").read_text())
    assert (base["model_type"], base["max_position_embeddings"]) == ("qwen3", 8192)
    losses = [json.loads(line) for line in (out / "seed3" / "base" / "metrics.jsonl").read_text().splitlines()]
    assert sum("loss" in line for line in losses) > 1
