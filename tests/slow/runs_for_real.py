"""What the slow tests share: a small world on disk, a config over it, and real processes that train."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from rlkit.data.synthetic import generate

ROOT = Path(__file__).resolve().parents[2]
MODEL = {
    "model_type": "qwen2",
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TRAIN = {
    "max_steps": 8,
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 12,
    "learning_rate": 1e-3,
    "save_steps": 2,
    "gradient_checkpointing": False,
    "seed": 7,
}
# Varied rewards for a model that says nothing sensible, so that there is something to learn and to compare.
REWARDS = {
    "accuracy": {"use": "token_f1", "weight": 0.7},
    "format": {"use": "care_format", "weight": 0.1},
    "grounding": {"use": "quotes_in_context", "weight": 0.2},
    "letters": {"use": "letters_reward:letters", "weight": 0.5},
    "short": {"use": "letters_reward:shortness", "weight": 0.1},
}
CUSTOM = """
def letters(sample):
    return sum(letter in "aeiou" for letter in sample.completion) / max(1, len(sample.completion))

def shortness(prompts, completions, **columns):
    return [None if len(prompt[-1]["content"]) % 2 else 1 / (1 + len(completion[0]["content"]))
            for prompt, completion in zip(prompts, completions)]
"""


def write_config(folder: Path, name: str = "run", **train: Any) -> Path:
    """A GRPO config over two synthetic sources, whose run folder is `folder/name`."""
    folder.mkdir(parents=True, exist_ok=True)
    for level in ("easy", "hard"):
        rows = [json.dumps(row) for row in generate(level, rows=30, seed=3)]
        (folder / f"{level}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "letters_reward.py").write_text(CUSTOM, encoding="utf-8")
    config = {
        "method": "grpo",
        "scratch": MODEL,
        "prompt": {"system": None, "max_tokens": 400},
        # not in alphabetical order, so that a plan in another order than the rows would show
        "sources": {
            "simple": {"format": "records", "path": "easy.jsonl"},
            "hard": {"format": "records", "path": "hard.jsonl"},
        },
        "curriculum": {"kind": "linear", "start": {"simple": 1, "hard": 0}, "end": {"simple": 0.25, "hard": 0.75}},
        "rewards": REWARDS,
        "train": {**TRAIN, "output_dir": name, **train},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def environment(folder: Path) -> dict[str, str]:
    """This process's environment with the interpreter's own programs first, caches in `folder`, a core a process."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
    }


def start(folder: Path, *command: str, **variables: str) -> subprocess.Popen[str]:
    env = {**environment(folder), **variables}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(folder: Path, *command: str, expect: int = 0, **variables: str) -> str:
    """Run a command to its end and return what it printed; `variables` go to its environment."""
    process = start(folder, *command, **variables)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == expect, output
    return output


def deepspeed(processes: int = 2) -> tuple[str, ...]:
    """The launcher with a port of its own, so that tests may run side by side."""
    return ("deepspeed", "--master_port", str(free_port()), "--num_gpus", str(processes), "--no_local_rank")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
