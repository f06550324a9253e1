"""One cell of the DeepSpeed matrix: a run on several processes against the same global batches on one, without DeepSpeed.

Both see the same rows in the same order and, in GRPO, the same completions (see `same_draws`). What must be equal is
asserted; what floating point lets differ is measured, and asserted against the tolerances here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs_for_real import ROOT, environment, free_port, lines, write_config

PROBE = str(Path(__file__).with_name("rank_probe.py"))
STEPS = 4
BATCH = 16  # completions or rows of an optimizer step, over all processes and two batches each
ADAPTERS = {
    "full": {},
    "lora": {"model": {"use_peft": True, "lora_r": 4, "lora_target_modules": "all-linear", "lora_dropout": 0.0}},
    "lora+tags": {
        "model": {"use_peft": True, "lora_r": 4, "lora_target_modules": "all-linear", "lora_dropout": 0.0},
        "tag_tokens": True,
    },
}


@dataclass(frozen=True)
class Cell:
    method: str
    adapter: str
    stage: int
    processes: int = 2

    def __str__(self) -> str:
        return f"{self.method}-{self.adapter}-zero{self.stage}-{self.processes}"


@dataclass(frozen=True)
class Differences:
    """The largest differences between two runs: the loss and the gradient's norm of every step, and the final weights.

    The loss is an absolute difference (that of GRPO is about 0), the norm a relative one, and None under ZeRO-0, where
    DeepSpeed tells no norm.
    """

    loss: float
    gradient: float | None
    weights: float


TOLERANCES = Differences(loss=1e-5, gradient=1e-5, weights=1e-4)  # a step of Adam moves a weight by up to 1e-3


class Ranks:
    """Starts processes that have everything imported already, see `rank_probe`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, PROBE, "--serve"]
        environ = environment(folder)
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.communicate(timeout=60)

    def train(self, config: Path, processes: int | None = None) -> Path:
        """Train a config to its end and return the run folder; `None` processes is one without a launcher."""
        request = {
            "folder": str(config.parent),
            "arguments": ["train", config.name],
            "processes": processes or 1,
            "port": free_port() if processes else None,
            "variables": {"SAME_DRAWS": "1"},
        }
        print(json.dumps(request), file=self.server.stdin, flush=True)
        codes = json.loads(self.server.stdout.readline())
        assert set(codes) == {0}, (config.parent / "log.txt").read_text()[-8000:]
        return config.parent / "run"


def reference(ranks: Ranks, folder: Path, method: str, adapter: str) -> Path:
    """The run folder of one process without DeepSpeed."""
    return ranks.train(_config(folder, method, adapter))


def run_cell(ranks: Ranks, folder: Path, cell: Cell) -> Path:
    """The run folder of a cell; every process has left its digest beside it."""
    settings = json.loads((ROOT / f"configs/deepspeed/zero{max(cell.stage, 1)}.json").read_text())
    settings["zero_optimization"]["stage"] = cell.stage
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "deepspeed.json").write_text(json.dumps(settings))
    config = _config(folder, cell.method, cell.adapter, cell.processes, deepspeed="deepspeed.json")
    return ranks.train(config, cell.processes)


def compare(cell: Cell, alone: Path, split: Path) -> Differences:
    """Assert what must be equal between the two runs and within the second one, and measure the rest."""
    ranks = [json.loads((split.parent / f"rank{rank}.json").read_text()) for rank in range(cell.processes)]
    lone = json.loads((alone.parent / "rank0.json").read_text())
    for rank in ranks:
        assert rank["weights"] == ranks[0]["weights"], "the processes ended with different weights"
        assert rank["ids"] == lone["ids"]
        assert rank["facts"] == lone["facts"]
    one, two = lines(alone / "metrics.jsonl"), lines(split / "metrics.jsonl")
    assert [row["step"] for row in one] == [row["step"] for row in two] == list(range(1, STEPS + 1))
    if cell.method == "grpo":
        assert lines(split / "samples.jsonl") == lines(alone / "samples.jsonl")  # completions, scores, order
        assert len(lines(split / "samples.jsonl")) == STEPS * BATCH
        for here, there in zip(one, two, strict=True):
            assert there["reward"] == pytest.approx(here["reward"], abs=1e-6)
    assert _loaded(split) == ranks[0]["weights"], "what was saved is not what the processes held"
    return Differences(
        loss=max(abs(a["loss"] - b["loss"]) for a, b in zip(one, two, strict=True)),
        gradient=None
        if cell.stage == 0
        else max(abs(b["grad_norm"] / a["grad_norm"] - 1) for a, b in zip(one, two, strict=True)),
        weights=_distance(alone, split),
    )


def check(found: Differences) -> None:
    for name, allowed in vars(TOLERANCES).items():
        value = getattr(found, name)
        assert value is None or value <= allowed, f"{name}: {value:.3g} over {allowed:.3g}"


def _loaded(run: Path) -> str:
    """The digest of the saved weights as `from_pretrained` reads them; of an adapter, on the model it belongs to."""
    from rank_probe import digest_of_weights
    from transformers import AutoModelForCausalLM, AutoTokenizer

    whole = AutoModelForCausalLM.from_pretrained(run / "model")
    if not (run / "adapter").is_dir():
        return digest_of_weights(whole)
    import torch
    from peft import PeftModel

    start = AutoModelForCausalLM.from_pretrained(run / "start_model")
    adapted = PeftModel.from_pretrained(start, str(run / "adapter"))
    digest = digest_of_weights(adapted)
    text = AutoTokenizer.from_pretrained(run / "model")("<think>Who wrote Emma?</think>", return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(whole(**text).logits, adapted(**text).logits, atol=1e-5), "merged is not adapted"
    return digest


def _distance(one: Path, two: Path) -> float:
    from transformers import AutoModelForCausalLM

    first, second, start = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()
        for folder in (one / "model", two / "model", two / "start_model")
    )
    assert any(not second[name].equal(start[name]) for name in start), "training changed nothing"
    return max((first[name] - second[name]).abs().max().item() for name in first)


def _config(folder: Path, method: str, adapter: str, processes: int = 1, **train: Any) -> Path:
    path = write_config(
        folder,
        max_steps=STEPS,
        per_device_train_batch_size=BATCH // 2 // processes,
        gradient_accumulation_steps=2,
        save_steps=STEPS,
        **train,
    )
    values = yaml.safe_load(path.read_text())
    if method == "sft":
        shown = {"format": "synthetic", "rows": 60, "seed": 3, "demonstrations": True}
        values["sources"] = {"simple": {**shown, "level": "easy"}, "hard": {**shown, "level": "hard"}}
        for name in ("num_generations", "max_completion_length"):
            del values["train"][name]
        del values["rewards"], values["prompt"]["max_tokens"]
        values["method"] = "sft"
    path.write_text(yaml.safe_dump(values | ADAPTERS[adapter]))
    return path
