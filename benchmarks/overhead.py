"""What `rlkit train` costs beside plain TRL: time of a step and peak memory, measured against each other in one run.

    python benchmarks/overhead.py [--steps 24] [--rounds 3] [--size small] [--realtime]

Both train the same model on the same rows in the same order with the same reward function: one through `rlkit train`, with
everything that it does by default (journals, completions, watching), one through a script of `trl.GRPOTrainer` alone. They
are two processes that take turns step by step, so that a busy machine slows both down alike; a step counts from the moment
its process has the turn until it asks for the next one, logging and data included. At the end both must have logged the
same losses and rewards, else they did not do the same work and there is no result.

The ratio is that of the two times of the same step; its median and a 95 % bootstrap interval over all steps of all rounds
are shown with the first steps of every round and without them. `--realtime` runs both with `chrt -r 1`, before everything
else on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import plain_trl
import yaml

ROOT = Path(__file__).resolve().parents[1]
FIRST_STEPS = 3
ALLOWED_TIME, ALLOWED_MEMORY = 1.03, 1.05
SIZES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "completions": 8, "new_tokens": 16},
    "small": {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 4,
        "completions": 16,
        "new_tokens": 32,
    },
}
REWARDS = {
    # One function in TRL's own form, as a user of plain TRL has it.
    "function": {"letters": {"use": "overhead:letters", "weight": 1.0}},
    # The preset; plain TRL gets its parts as reward functions.
    "care": "care",
}


def letters(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    """The share of letters that the gold answer has as well."""
    texts = [completion[0]["content"].strip() for completion in completions]
    return [
        sum(letter in golds[0] for letter in text) / max(1, len(text))
        for text, golds in zip(texts, columns["golds"], strict=True)
    ]


# What runs in the two processes.


def turns() -> type:
    """A callback that trains only while this process has the turn, and notes how long each step took."""
    from transformers import TrainerCallback

    class Turns(TrainerCallback):
        def __init__(self) -> None:
            self.take, self.give = (int(os.environ[name]) for name in ("TURN_TAKE", "TURN_GIVE"))
            self.began: tuple[float, float] | None = None
            self.wall: list[float] = []
            self.processor: list[float] = []

        def end_turn(self) -> None:
            if self.began is not None:
                self.wall.append(time.perf_counter() - self.began[0])
                self.processor.append(time.process_time() - self.began[1])
                os.write(self.give, b".")

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.end_turn()
            os.read(self.take, 1)
            self.began = time.perf_counter(), time.process_time()

        def on_train_end(self, args: Any, state: Any, *others: Any, **kwargs: Any) -> None:
            self.end_turn()
            skipped = ("loss", "reward", "grad_norm", "entropy")
            log = [{name: line[name] for name in skipped} for line in state.log_history if "reward" in line]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            result = {"wall": self.wall, "processor": self.processor, "log": log, "peak_mib": peak}
            Path(os.environ["TURN_RESULT"]).write_text(json.dumps(result))

    return Turns


def ours(config: Path) -> None:
    from rlkit.cli import main

    if main(["train", str(config)]):
        raise SystemExit("rlkit train failed")


def plain(config: Path) -> None:
    function = yaml.safe_load(config.read_text())["rewards"] != "care"
    plain_trl.train(config, [letters] if function else None)


# What starts them.


def prepare(folder: Path, size: str, reward: str, steps: int) -> None:
    """Model, config, and the rows in planned order as plain TRL takes them."""
    from rlkit.data.synthetic import generate
    from rlkit.prompts import chat_prompt
    from rlkit.scratch import scratch_model

    shape = dict(SIZES[size])
    completions, new_tokens = shape.pop("completions"), shape.pop("new_tokens")
    records = list(generate("hard", rows=400, seed=3, facts=12))
    texts = [message["content"] for record in records for message in chat_prompt(record)]
    model = scratch_model(
        folder / "start",
        {"model_type": "qwen2", "vocab_size": 2000, "num_attention_heads": 4, "num_key_value_heads": 2, **shape},
        texts,
        seed=0,
    )
    config = {
        "method": "grpo",
        "model": {"model_name_or_path": str(model)},
        "sources": {"synthetic": {"format": "synthetic", "level": "hard", "facts": 12, "rows": 400, "seed": 3}},
        "rewards": REWARDS[reward],
        "train": {
            "max_steps": steps,
            "per_device_train_batch_size": completions,
            "num_generations": completions // 2,
            "max_completion_length": new_tokens,
            "learning_rate": 1e-4,
            "gradient_checkpointing": False,
            "use_cpu": True,
            "bf16": False,
            "save_strategy": "no",
            "seed": 7,
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    plain_trl.write_rows(path)


def one_round(folder: Path, number: int, realtime: bool) -> dict[str, dict[str, Any]]:
    """Both trainings, turn by turn; every other round the other one begins."""
    names = ["rlkit", "plain"] if number % 2 == 0 else ["plain", "rlkit"]
    pipes = [os.pipe(), os.pipe()]  # the turn of the first, the turn of the second
    running = []
    for place, name in enumerate(names):
        values = yaml.safe_load((folder / "config.yaml").read_text())
        values["train"]["output_dir"] = str(folder / f"{name}{number}")
        config = folder / f"{name}{number}.yaml"
        config.write_text(yaml.safe_dump(values))
        take, give = pipes[place][0], pipes[1 - place][1]
        command = [*(["chrt", "-r", "1"] if realtime else []), sys.executable, __file__, "--run", name, str(config)]
        env = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}",
            "OMP_NUM_THREADS": "1",
            "TURN_TAKE": str(take),
            "TURN_GIVE": str(give),
            "TURN_RESULT": str(folder / f"{name}{number}.json"),
        }
        log = (folder / f"{name}{number}.log").open("w")
        running.append(subprocess.Popen(command, env=env, pass_fds=(take, give), stdout=log, stderr=log))
    os.write(pipes[0][1], b".")
    for name, process in zip(names, running, strict=True):
        if process.wait():
            for other in running:
                other.kill()
            raise SystemExit((folder / f"{name}{number}.log").read_text())
    for ends in pipes:
        for end in ends:
            os.close(end)
    return {name: json.loads((folder / f"{name}{number}.json").read_text()) for name in names}


def interval(values: list[float], draws: int = 2000) -> tuple[float, float, float]:
    """The median and its 95 % bootstrap interval."""
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def report(rounds: list[dict[str, dict[str, Any]]]) -> bool:
    """Print the ratios; returns whether both are within what is allowed."""
    for number, found in enumerate(rounds):
        if found["rlkit"]["log"] != found["plain"]["log"]:
            raise SystemExit(f"round {number}: the two trainings logged different losses or rewards: not the same work")
    within = []
    for clock in ("wall", "processor"):
        for label, first in (("all steps", 0), (f"without the first {FIRST_STEPS}", FIRST_STEPS)):
            # The last step of the one that ends first is followed by its saving, in the other one's turn.
            pairs = [
                (ours, plain)
                for found in rounds
                for ours, plain in list(zip(found["rlkit"][clock], found["plain"][clock], strict=True))[first:-1]
            ]
            middle, low, high = interval([ours / plain for ours, plain in pairs])
            more = statistics.median(ours - plain for ours, plain in pairs) * 1e3
            step = statistics.median(plain for _, plain in pairs) * 1e3
            total = sum(ours for ours, _ in pairs) / sum(plain for _, plain in pairs)
            print(
                f"step, {clock} time, {label:<19} ratio {middle:.4f} [{low:.4f}, {high:.4f}]  of the sums {total:.4f}  "
                f"{more:+.2f} ms on {step:.1f} ms  ({len(pairs)} steps)"
            )
            if clock == "processor" and first:
                within.append(middle <= ALLOWED_TIME)
    peaks = [(found["rlkit"]["peak_mib"], found["plain"]["peak_mib"]) for found in rounds]
    ratio = statistics.median(ours / plain for ours, plain in peaks)
    print(f"peak memory {' '.join(f'{a:.0f}/{b:.0f}' for a, b in peaks)} MiB, median ratio {ratio:.4f}")
    within.append(ratio <= ALLOWED_MEMORY)
    print(f"allowed: time {ALLOWED_TIME}, memory {ALLOWED_MEMORY}: {'within' if all(within) else 'OVER'}")
    return all(within)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--reward", choices=REWARDS, default="function")
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        import transformers.trainer

        transformers.trainer.DEFAULT_CALLBACKS.append(turns())
        {"rlkit": ours, "plain": plain}[args.run[0]](Path(args.run[1]))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        prepare(folder, args.size, args.reward, args.steps)
        rounds = [one_round(folder, number, args.realtime) for number in range(args.rounds)]
    if not report(rounds):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
