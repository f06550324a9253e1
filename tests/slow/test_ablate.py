"""A small ablation from end to end: killed twice and started again it ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs_for_real import ROOT, environment, lines

pytestmark = pytest.mark.slow

GRPO, SFT = "configs/quickstart/grpo.yaml", "configs/quickstart/sft.yaml"
SMALL = {"train.max_steps": 3, "train.per_device_train_batch_size": 8, "train.logging_steps": 1}
# The model says nothing that is right: chance decides what is rewarded, and which answers are kept.
FEW = {**SMALL, "train.num_generations": 4, "rewards.accuracy.use": "rlkit.ablation.parts:random_accuracy"}
ABLATION = {
    "title": "Small",
    "seeds": [1, 2],
    "before": {
        "base": {"world": "care", "steps": 4},
        "answers": {"sample": GRPO, "from": "base", "set": FEW},
    },
    "config": GRPO,
    "from": "base",
    "variants": {
        "full": {"set": FEW},
        "no_grounding": {"set": {**FEW, "rewards.grounding.weight": 0, "train.learning_rate": 1e-3}},
        "rejection_sft": {"config": SFT, "rows": "answers", "set": SMALL},
    },
}
SUITE = {"prompt": {"system": None}, "max_new_tokens": 8, "metrics": ["em", "f1", "format"], "data": {"easy": {"rows": 6}, "hard": None, "long": None}}  # fmt: skip
JOBS = 2 * (2 + 3 + 4)  # stages before, variants, and the evaluations of four models, of two seeds


class Warm:
    """The program that starts `rlkit ablate` at once; see `warm_ablate`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, str(Path(__file__).with_name("warm_ablate.py")), "rlkit", "ablate"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, name: str, *arguments: str) -> int:
        return self.ask(arguments=arguments, log=str(self.folder / name))

    def run(self, name: str, *arguments: str) -> str:
        process = self.start(name, *arguments)
        code, said = self.ask(wait=process), (self.folder / name).read_text()
        assert code == 0, said
        return said


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump({"suites": {"synthetic": SUITE}}))
    values = {**ABLATION, "evaluate": str(tmp_path / "evaluate.yaml")}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    warm = Warm(tmp_path)
    with warm.process:  # closes what it reads from, which ends it
        yield warm


def killed_in(warm: Warm, name: str, arguments: list[str], journal: Path, number: signal.Signals) -> int:
    """Start the command, kill it once the journal has a line, and return its exit code."""
    process = warm.start(name, *arguments)
    deadline = time.monotonic() + 600
    while not (journal.is_file() and journal.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process, number)
    return warm.ask(wait=process)


def digests(out: Path) -> dict[str, str]:
    models = sorted(out.glob("seed*/*/model/model.safetensors"))
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in models}


def told(path: Path) -> list[Any]:
    """The runs of a results.json without how long they took."""
    runs = json.loads(path.read_text())["runs"]
    return [{key: value for key, value in run.items() if key not in ("seconds", "reward_share")} for run in runs]


def test_a_killed_ablation_ends_as_one_that_was_not(warm: Warm, tmp_path: Path) -> None:
    config, out, whole = str(tmp_path / "small.yaml"), tmp_path / "out", tmp_path / "whole"
    command = [config, f"output_dir={out}", "--jobs", "1"]
    first = killed_in(warm, "1.log", command, out / "seed1/full/metrics.jsonl", signal.SIGTERM)
    assert first == 130
    before = {path: path.read_bytes() for path in out.rglob("*.done.json")}
    assert out / "seed1/base.done.json" in before
    assert out / "seed1/full.done.json" not in before
    second = killed_in(warm, "2.log", command, out / "seed2/no_grounding/metrics.jsonl", signal.SIGKILL)
    assert second == -signal.SIGKILL
    notes = {path: path.read_bytes() for path in out.rglob("*.done.json")}
    assert before.items() <= notes.items()
    assert len(before) < len(notes) < JOBS
    said = warm.run("3.log", *command)
    assert said.count(": is there\n") >= len(notes)
    assert len(list(out.rglob("*.done.json"))) == JOBS
    assert {path: path.read_bytes() for path in notes} == notes
    assert not list(out.rglob("*.failed.json"))

    warm.run("whole.log", config, f"output_dir={whole}", "--jobs", "2")
    assert digests(out) == digests(whole)
    assert len(set(digests(out).values())) == len(digests(out)) == 2 * 3
    assert told(out / "results.json") == told(whole / "results.json")
    for seed in (1, 2):
        for name in ("full", "no_grounding", "rejection_sft"):
            steps = [line["step"] for line in lines(out / f"seed{seed}/{name}/metrics.jsonl") if "loss" in line]
            assert steps == [1, 2, 3]

    shown = warm.run("show.log", config, f"output_dir={out}", "--show")
    again = warm.run("from.log", "--from", str(out / "results.json"), "--out", str(tmp_path / "kept"))
    assert again.startswith(shown.rstrip())
    assert (tmp_path / "kept" / "plot.svg").read_bytes() == (out / "plot.svg").read_bytes()
    assert (tmp_path / "kept" / "table.md").read_bytes() == (out / "table.md").read_bytes()
    assert "<title>Small</title>" in (out / "report.html").read_text(encoding="utf-8")
    assert "\n6 runs, " in said  # in the report
