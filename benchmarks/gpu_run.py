"""One measured training of benchmarks/gpu.py, in a process of its own: trains, measures and leaves without saving.

python benchmarks/gpu_run.py make SHAPE.json FOLDER      a randomly initialised model of that shape
python benchmarks/gpu_run.py rlkit|plain CONFIG RESULT   a training, through `rlkit train` or TRL alone
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import plain_trl
import yaml

TOKENIZER_WORDS = 4000
TOKENIZER_TOKENS = 4096
GENERATION = ("transformers.generate", "transformers.generate_batch", "vLLM.generate", "sync_weights")
REWARDS = ("_calculate_rewards",)


def words(count: int, seed: int) -> list[str]:
    """Words of made-up syllables, the frequent ones as frequent as in real text."""
    chance = random.Random(0)
    syllables = [a + b for a in "bdfgklmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]
    known = ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(TOKENIZER_WORDS)]
    weights = [1 / place for place in range(1, TOKENIZER_WORDS + 1)]
    return random.Random(seed).choices(known, weights, k=count)


def make(shape: dict[str, Any], folder: Path) -> None:
    """Write a model of `shape` in its own dtype, and a tokenizer that is small beside the model's vocabulary."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from rlkit.scratch import bpe_tokenizer

    tokenizer = bpe_tokenizer([" ".join(words(1000, seed)) for seed in range(40)], TOKENIZER_TOKENS)
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model("qwen2", **{**shape, **ends})
    gpu = torch.cuda.is_available()
    torch.manual_seed(0)
    with torch.device("cuda" if gpu else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if gpu else torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Clock:
    """Where the time of each step goes, by the names under which TRL profiles itself; waits for the GPU at every mark."""

    def __init__(self, result: Path) -> None:
        import torch
        from transformers import TrainerCallback
        from trl.extras.profiling import ProfilingContext

        self.torch, self.result = torch, result
        self.gpu = torch.cuda.is_available()
        self.steps: list[dict[str, float]] = []
        self.spent: dict[str, float] = {}
        self.began = 0.0
        clock = self

        def enter(context: Any) -> Any:
            context._start_time = clock.now()
            return context

        def leave(context: Any, *_: Any) -> bool:
            name = context.name.split(".", 1)[1]
            clock.spent[name] = clock.spent.get(name, 0.0) + clock.now() - context._start_time
            return False

        ProfilingContext.__enter__, ProfilingContext.__exit__ = enter, leave

        class Steps(TrainerCallback):
            def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
                clock.began, clock.spent = clock.now(), {}

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                clock.end_step()

            def on_train_end(self, args: Any, state: Any, *others: Any, **kwargs: Any) -> None:
                clock.leave(state.log_history)

        self.callback = Steps

    def now(self) -> float:
        if self.gpu:
            self.torch.cuda.synchronize()
        return time.perf_counter()

    def end_step(self) -> None:
        seconds = self.now() - self.began
        generation = sum(self.spent.get(name, 0.0) for name in GENERATION)
        rewards = sum(self.spent.get(name, 0.0) for name in REWARDS)
        self.steps.append({"step": seconds, "generation": generation, "rewards": rewards})

    def leave(self, history: list[dict[str, Any]]) -> None:
        tokens = [line["num_tokens"] for line in history if "num_tokens" in line]
        for step, before, after in zip(self.steps, [0, *tokens[:-1]], tokens, strict=True):
            step["tokens"] = after - before
        properties = self.torch.cuda.get_device_properties(0) if self.gpu else None
        peak = self.torch.cuda.max_memory_allocated() if self.gpu else _resident_bytes()
        found = {
            "device": properties.name if properties else "CPU",
            "memory_gib": properties.total_memory / 2**30 if properties else None,
            "peak_gib": peak / 2**30,
            "steps": self.steps,
        }
        self.result.write_text(json.dumps(found))
        os._exit(0)  # what is trained here is not worth the minutes of saving it


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(action: str, *arguments: str) -> None:
    if action == "make":
        make(json.loads(Path(arguments[0]).read_text()), Path(arguments[1]))
        return
    config, result = map(Path, arguments)
    import transformers.trainer

    transformers.trainer.DEFAULT_CALLBACKS.append(Clock(result).callback)
    if action == "plain":
        plain_trl.train(config)
    else:
        from rlkit.cli import main as rlkit

        sys.exit(
            rlkit(
                ["train", str(config), f"train.output_dir={yaml.safe_load(config.read_text())['train']['output_dir']}"]
            )
        )


if __name__ == "__main__":
    main(*[argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")])
