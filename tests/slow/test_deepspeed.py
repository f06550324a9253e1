"""GRPO under the deepspeed launcher on two CPU processes: they agree, and the log equals the offline scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from runs_for_real import ROOT, finish, lines, write_config

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("stage", [2, 3])
def test_two_processes_agree(tmp_path: Path, stage: int) -> None:
    config = write_config(
        tmp_path,
        per_device_train_batch_size=4,
        max_steps=4,
        deepspeed=str(ROOT / f"configs/deepspeed/zero{stage}.json"),
    )
    probe = str(Path(__file__).with_name("rank_probe.py"))
    finish(tmp_path, "deepspeed", "--num_gpus", "2", "--no_local_rank", probe, "train", str(config))
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len(first["ids"]) == 4 * 2  # steps x prompts a step

    run = tmp_path / "run"
    samples = lines(run / "samples.jsonl")
    assert len(samples) == 4 * 8
    order = list(dict.fromkeys((sample["step"], sample["id"]) for sample in samples))
    assert [row_id for _, row_id in order] == first["ids"]  # trained in planned order
    finish(
        tmp_path, sys.executable, "-m", "rlkit", "score", str(run / "samples.jsonl"),
        "--rewards", str(run / "config.yaml"), "--out", "scored.jsonl",
    )  # fmt: skip
    offline = [row["score"]["parts"] for row in lines(tmp_path / "scored.jsonl")]
    assert offline == [sample["score"]["parts"] for sample in samples]
    for row in lines(run / "metrics.jsonl"):
        here = [sample["score"] for sample in samples if sample["step"] == row["step"]]
        for part in ("letters", "short"):
            values = [score["parts"][part] for score in here if score["parts"][part] is not None]
            if values:
                assert row[f"rewards/{part}/mean"] == pytest.approx(sum(values) / len(values), abs=1e-6)

    from transformers import AutoModelForCausalLM

    trained = AutoModelForCausalLM.from_pretrained(run / "model")
    start = AutoModelForCausalLM.from_pretrained(run / "start_model")
    changed = [name for name, weight in trained.named_parameters() if not weight.equal(start.get_parameter(name))]
    assert changed, "training changed nothing"


def test_the_documented_command(tmp_path: Path) -> None:
    """`deepspeed --module rlkit train`, as the configs say it; and a wrong value stops all processes with one message."""
    zero1 = str(ROOT / "configs/deepspeed/zero1.json")
    config = write_config(tmp_path, per_device_train_batch_size=4, max_steps=1, deepspeed=zero1)
    launch = ("deepspeed", "--num_gpus", "2", "--module", "rlkit", "train", str(config))
    finish(tmp_path, *launch)
    assert json.loads((tmp_path / "run" / "done.json").read_text())["steps"] == 1
    output = finish(tmp_path, *launch, expect=2)
    assert output.count("error: ") == 1
    assert "this run is complete" in output


def test_torchrun(tmp_path: Path) -> None:
    config = write_config(tmp_path, per_device_train_batch_size=4, max_steps=1)
    launch = ("torchrun", "--nproc_per_node", "2", "-m", "rlkit", "train", str(config))
    refused = finish(tmp_path, *launch, "train.num_generations=3", expect=1)  # torchrun's own code for a failed process
    assert refused.count("error: ") == 1, refused
    assert "3 does not divide the 8 completions" in refused
    finish(tmp_path, *launch, "samples_per_step=4")  # the refused run has left the folder free
    assert len(lines(tmp_path / "run" / "samples.jsonl")) == 4
