"""The benchmark for a GPU, in miniature: all of it but the size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runs_for_real import ROOT, environment

pytestmark = pytest.mark.matrix


def test_it_runs_from_end_to_end(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "benchmarks/gpu.py"),
        "--tiny",
        "--sweep",
        "--out",
        str(tmp_path / "gpu.json"),
    ]
    command += ["--peak-tflops", "0.1"]
    ended = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=3600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    runs = json.loads((tmp_path / "gpu.json").read_text())["runs"]
    tried = {tuple(run["settings"].items()): run for run in runs if run["shape"] == "tiny"}
    assert len(tried) >= 4  # where it starts, and three choices
    for shape in ("tiny", "tiny-lora"):
        last = [run for run in runs if run["shape"] == shape][-4:]
        assert [(run["stage"], run["side"]) for run in last] == [(2, "rlkit"), (2, "plain"), (3, "rlkit"), (3, "plain")]
        for ours, plain in (last[:2], last[2:]):
            assert ours["settings"] == plain["settings"]
            assert ours["tokens"] == plain["tokens"] > 8 * 400  # the same work: 8 prompts of nearly 512 tokens
            for run in (ours, plain):
                assert 0 < run["mfu"] < run["update_mfu"] * 3
                assert run["generation"] + run["rewards"] + run["update"] == pytest.approx(1)
                assert min(run["generation"], run["rewards"], run["update"], run["peak_gib"]) > 0
    assert ended.stdout.count("| tiny |") == ended.stdout.count("| tiny-lora |") == 4


def test_without_a_gpu_it_says_so_at_once(tmp_path: Path) -> None:
    hidden = {**environment(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), "--shapes", "3b"]
    ended = subprocess.run(command, env=hidden, capture_output=True, text=True, timeout=600)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "torch sees no GPU here" in ended.stderr
