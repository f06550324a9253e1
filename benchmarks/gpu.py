"""GRPO at long contexts on one GPU: speed, memory, where the time goes, beside plain TRL; and which settings are fastest.

    python benchmarks/gpu.py --sweep --out gpu.json                  everything, some hours on one GPU
    python benchmarks/gpu.py --shapes 3b --contexts 8192 --steps 2   a part of it
    python benchmarks/gpu.py --tiny --sweep                          all of it in miniature, on a CPU

Needs no network: models in the shapes of Qwen2.5 are randomly initialised, so they answer nonsense up to the length limit,
and every step has its full size. A step is a real GRPO step: 8 completions of one prompt that fills the context, scored by
the CARE preset, one update; through `rlkit train` and through TRL alone, with DeepSpeed ZeRO-2 and ZeRO-3.

tokens/s    prompt and completion tokens of a step through its time
MFU         the model's floating point operations through time and the GPU's dense bf16 peak. A token's forward pass takes 2
            per weight plus attention, 4 x layers x width x half the context; output embeddings count for answers alone.
            Generation is one forward pass of all tokens; the update is one and, backward, two (LoRA: one). What
            checkpointing computes twice does not count.
shares      generation, rewards, and the update with all the rest
peak        most memory that torch held at once (on a CPU: of the process)

`--sweep` takes one group of settings after the other, keeps the fastest that works, and goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import plain_trl
import yaml
from gpu_run import words
from gpu_sizes import COMPLETIONS, LORA, SHAPES, WARM_UP_STEPS, figures

from rlkit.launching.devices import accelerators
from rlkit.runs import environment, write_json

ROOT = Path(__file__).resolve().parents[1]
PASSAGE_WORDS = 20
# Groups of settings, each a choice of one; the first is what a run has without a sweep. TRL 1.16 computes log-probabilities
# in chunks without being asked, so there is no such choice.
CHOICES: dict[str, dict[str, dict[str, Any]]] = {
    "attention": {
        "sdpa": {"model.attn_implementation": "sdpa"},
        "flash_attention_2": {"model.attn_implementation": "flash_attention_2"},
        "flex_attention": {"model.attn_implementation": "flex_attention"},
    },
    "generation": {
        "one batch": {"train.use_transformers_continuous_batching": False},
        "continuous batching": {"train.use_transformers_continuous_batching": True},
    },
    "checkpointing": {
        "checkpointing": {"train.gradient_checkpointing": True},
        "no checkpointing": {"train.gradient_checkpointing": False},
    },
    "layer kernels": {"torch": {"train.use_liger_kernel": False}, "liger": {"train.use_liger_kernel": True}},
    "at a time": {
        f"{size} at a time": {
            "train.per_device_train_batch_size": size,
            "train.gradient_accumulation_steps": COMPLETIONS // size,
        }
        for size in (1, 2, 4, 8)
    },
}


@dataclass(frozen=True)
class Job:
    """One training; `settings` says which choice of each group it has."""

    shape: str
    context: int
    stage: int
    side: str
    settings: Mapping[str, str] = field(
        default_factory=lambda: {group: next(iter(CHOICES[group])) for group in CHOICES}
    )

    def __str__(self) -> str:
        return (
            f"{self.shape} {self.context:,} tokens ZeRO-{self.stage} {self.side}: {', '.join(self.settings.values())}"
        )

    def changed(self, **changes: Any) -> Job:
        return Job(**{**vars(self), **changes})


class Bench:
    """Makes models and configs in a folder and runs jobs, each in a process of its own."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self.folder, self.args = folder, args
        self.new_tokens, self.steps = args.new_tokens, WARM_UP_STEPS + args.steps
        self.done: list[dict[str, Any]] = []
        place = f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}"
        self.environment = {
            **os.environ,
            "PYTHONPATH": place,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(folder / "cache"),
        }
        if args.tiny:
            self.environment |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}

    def model(self, name: str) -> Path:
        """The folder of a randomly initialised model, made once; the one before it is removed, for the disk's sake."""
        made = self.folder / "model" / name
        if not made.is_dir():
            for other in (self.folder / "model").glob("*/*"):
                other.unlink()
            described = self.folder / f"{name}.json"
            described.write_text(json.dumps(SHAPES[name]))
            self._python("make", str(described), str(made))
        return made

    def run(self, job: Job) -> dict[str, Any]:
        """What a job measured, or why it failed."""
        print(f"{job} ...", file=sys.stderr, flush=True)
        config = self._config(job)
        result = config.with_name("result.json")
        launch = ["deepspeed", "--master_port", str(_free_port()), "--num_gpus", "1", "--no_local_rank"]
        command = [*launch, str(ROOT / "benchmarks/gpu_run.py"), job.side, str(config), str(result)]
        log = config.with_name("log.txt")
        with log.open("w") as file:
            try:
                subprocess.run(command, env=self.environment, stdout=file, stderr=file, timeout=self.args.timeout)
                why = _reason(log.read_text(errors="replace"))
            except subprocess.TimeoutExpired:
                why = f"not done after {self.args.timeout} s"
        if result.is_file():
            found = {
                **asdict(job),
                **figures(job.shape, json.loads(result.read_text()), self.new_tokens, self.args.peak_tflops),
            }
        else:
            found = {**asdict(job), "failed": why}
        told = (
            found.get("failed") or f"{found['step_seconds']:.2f} s a step, {found['tokens_per_second']:,.0f} tokens/s"
        )
        print(f"  {told}", file=sys.stderr, flush=True)
        self.done.append(found)
        if self.args.out:
            result = {"date": date.today().isoformat(), "versions": environment(1)["versions"], "runs": self.done}
            write_json(self.args.out, result)
        return found

    def _config(self, job: Job) -> Path:
        folder = self.folder / f"job{len(self.done)}"
        folder.mkdir()
        model = self.model(job.shape)
        with (folder / "records.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in records(job.context, self.steps))
        values: dict[str, Any] = {
            "method": "grpo",
            "model": {"model_name_or_path": str(model), "dtype": "float32" if self.args.tiny else "bfloat16"},
            "prompt": {"max_tokens": job.context - self.new_tokens},
            "sources": {"made_up": {"format": "records", "path": str(folder / "records.jsonl")}},
            "rewards": "care",
            "train": {
                "output_dir": str(folder / "run"),
                "deepspeed": str(ROOT / f"configs/deepspeed/zero{job.stage}.json"),
                "bf16": not self.args.tiny,
                "use_cpu": self.args.tiny,
                "max_steps": self.steps,
                "num_generations": COMPLETIONS,
                "max_completion_length": self.new_tokens,
                "learning_rate": 1e-6,
                "save_strategy": "no",
                "seed": 7,
            },
        }
        if job.shape.endswith("-lora"):
            values["model"] |= LORA
        for group, name in job.settings.items():
            for place, value in CHOICES[group][name].items():
                section, key = place.split(".")
                values[section][key] = value
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(values))
        plain_trl.write_rows(path)
        return path

    def _python(self, *arguments: str) -> None:
        command = [sys.executable, str(ROOT / "benchmarks/gpu_run.py"), *arguments]
        subprocess.run(command, env=self.environment, check=True)


def records(context: int, count: int) -> Iterator[dict[str, Any]]:
    """Rows whose passages are more than enough to fill a prompt; those that are too many are dropped there."""
    for row in range(count):
        text = words(context // 2, seed=row + 1)  # a word is several tokens
        passages = [" ".join(text[at : at + PASSAGE_WORDS]) + "." for at in range(0, len(text), PASSAGE_WORDS)]
        gold = random.Random(row).choice(passages[: len(passages) // 4])
        answer, *asked = gold.split()[:4]
        question = f"Which word comes before {' '.join(asked)}?"
        yield {"id": f"row{row}", "question": question, "context": passages, "golds": [answer], "evidence": [gold]}


def sweep(bench: Bench, start: Job) -> Job:
    """The job with the fastest settings, found group by group."""
    best, fastest = start, bench.run(start)
    for group, choices in CHOICES.items():
        for name in choices:
            if name == best.settings[group] or (bench.args.tiny and name not in TINY_CHOICES):
                continue
            job = best.changed(settings={**best.settings, group: name})
            found = bench.run(job)
            if "failed" not in found and ("failed" in fastest or found["step_seconds"] < fastest["step_seconds"]):
                best, fastest = job, found
    print(f"fastest settings of {start.shape} at {start.context:,} tokens: {', '.join(best.settings.values())}")
    return best


TINY_CHOICES = ("no checkpointing", "8 at a time", "continuous batching")


def table(rows: list[dict[str, Any]]) -> str:
    """The runs as Markdown, rlkit and plain TRL below each other."""
    titles = (
        "shape",
        "context",
        "ZeRO",
        "through",
        "settings",
        "s/step",
        "tokens/s",
        "MFU",
        "MFU of update",
        "peak GiB",
        "generation",
        "rewards",
        "update",
    )
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in rows:
        start = [
            row["shape"],
            f"{row['context']:,}",
            str(row["stage"]),
            row["side"],
            ", ".join(row["settings"].values()),
        ]
        if "failed" in row:
            lines.append("| " + " | ".join([*start, row["failed"], *[""] * 7]) + " |")
            continue
        part = [f"{row[name]:.1%}" if row[name] is not None else "-" for name in ("mfu", "update_mfu")]
        shares = [f"{row[name]:.1%}" for name in ("generation", "rewards", "update")]
        cells = [
            f"{row['step_seconds']:.2f}",
            f"{row['tokens_per_second']:,.0f}",
            *part,
            f"{row['peak_gib']:.2f}",
            *shares,
        ]
        lines.append("| " + " | ".join([*start, *cells]) + " |")
    return "\n".join(lines)


def _reason(log: str) -> str:
    """The last line of a log that names an error."""
    if "out of memory" in log.lower():
        return "out of memory"
    lines = [line.split("]: ")[-1].strip() for line in log.splitlines() if "Error" in line and "exits with" not in line]
    return lines[-1][:160] if lines else "ended without a result"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["0.5b", "3b", "7b-lora"])
    parser.add_argument(
        "--contexts", nargs="+", type=int, default=[8192, 32768], help="tokens of prompt and completion"
    )
    parser.add_argument("--stages", nargs="+", type=int, choices=(1, 2, 3), default=[2, 3])
    parser.add_argument("--new-tokens", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3, help="measured steps, behind one that is not")
    parser.add_argument(
        "--sweep", action="store_true", help="first find the fastest settings of each shape and context"
    )
    parser.add_argument(
        "--peak-tflops", type=float, help="dense bf16 peak of the GPU, where this script does not know it"
    )
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that one run may take")
    parser.add_argument("--out", type=Path, help="a JSON file for all figures, written after every run")
    parser.add_argument("--tiny", action="store_true", help="everything in miniature on a CPU")
    args = parser.parse_args()
    if args.tiny:
        args.shapes, args.contexts, args.new_tokens, args.steps = ["tiny", "tiny-lora"], [512], 8, 1
    elif not all(name.startswith("tiny") for name in args.shapes) and not accelerators():
        sys.exit("error: torch sees no GPU here, and these models take hours on a CPU; try it with --tiny.")
    rows = []
    with tempfile.TemporaryDirectory() as made:
        bench = Bench(Path(made), args)
        for name in args.shapes:
            for context in args.contexts:
                job = Job(name, context, args.stages[0], "rlkit")
                if args.sweep:
                    job = sweep(bench, job)
                for stage in args.stages:
                    rows += [bench.run(job.changed(stage=stage, side=side)) for side in ("rlkit", "plain")]
    print(table(rows))
    if any("failed" in row for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
