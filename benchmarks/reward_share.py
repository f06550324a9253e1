"""How much of a GRPO step do the rewards take, at long contexts, in the training process and in worker processes?

    python benchmarks/reward_share.py                              # 8 completions of 32,000 words: minutes on a laptop
    python benchmarks/reward_share.py --prompt-words 2000          # seconds: the model reads 2,000 of the words, rewards all

Trains a tiny model for one step of one prompt, once without and once with `scoring.workers`, and reads `time/...` from
metrics.jsonl. The tinier the model, the greater the share. A model that knows nothing quotes nothing, so the rewards judge
a made-up completion for each row in place of the model's: one quote that is verbatim, one with a word changed, one made up.
Exit code 1 where the share is above 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rewards import Sample, care_format, quotes_in_context, token_f1

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 0.05
PASSAGES = 64
QUOTE_WORDS = 12


def said_of(sample: Sample) -> str:
    """A completion with three quotes, from the row's own passages; another one for each completion of the model."""
    dice = random.Random(sample.completion)
    words = dice.choice(sample.context).text.split()
    start = dice.randrange(len(words) - 2 * QUOTE_WORDS)
    verbatim, changed = words[start : start + QUOTE_WORDS], words[start + QUOTE_WORDS : start + 2 * QUOTE_WORDS]
    changed[QUOTE_WORDS // 2] = "otherwise"
    invented = [dice.choice(words) for _ in range(QUOTE_WORDS)]
    spans = " and ".join(f"<retrieval>{' '.join(span)}</retrieval>" for span in (verbatim, changed, invented))
    return f"<think>It says {spans}.</think> Answer: {sample.golds[0]}"


@dataclass(frozen=True)
class of_made_up:
    """A part of the CARE reward on the made-up completion."""

    part: str

    def __call__(self, sample: Sample) -> float | None:
        parts: dict[str, Any] = {"accuracy": token_f1(), "format": care_format(), "grounding": quotes_in_context()}
        return parts[self.part](sample.with_completion(said_of(sample)))


def rows(count: int, words: int, prompt_words: int | None) -> Iterator[str]:
    """Records with `words` words of context each, in sentences, as JSON lines."""
    dice = random.Random(7)
    vocabulary = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 9))) for _ in range(3000)]
    for i in range(count):
        context = []
        for j in range(PASSAGES):
            text = [dice.choice(vocabulary) for _ in range(words // PASSAGES)]
            text[::15] = [f"{word}.".capitalize() for word in text[::15]]
            context.append({"title": f"Passage {j}", "text": " ".join(text)})
        record = {"id": f"q{i}", "task": "care", "question": "What is told?", "context": context, "golds": ["a story"]}
        if prompt_words is not None:
            text = " ".join(passage["text"] for passage in context)
            record["prompt"] = [{"role": "user", "content": " ".join(text.split()[:prompt_words])}]
        yield json.dumps(record)


def train(folder: Path, words: int, completions: int, workers: int) -> dict[str, float]:
    """One step of a run; its `time/...` figures in seconds."""
    weights = {"accuracy": 0.7, "format": 0.1, "grounding": 0.2}
    config = {
        "method": "grpo",
        "scratch": {
            "model_type": "qwen2", "vocab_size": 4000, "hidden_size": 16, "intermediate_size": 32,
            "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "max_position_embeddings": 131072,
        },
        "sources": {"long": {"format": "records", "path": "rows.jsonl"}},
        "rewards": {
            name: {"use": "reward_share:of_made_up", "part": name, "weight": weight} for name, weight in weights.items()
        },
        "scoring": {"workers": workers},
        "train": {
            "output_dir": f"run-{workers}", "max_steps": 1, "num_generations": completions, "save_strategy": "no",
            "per_device_train_batch_size": 1, "gradient_accumulation_steps": completions, "max_completion_length": 8,
            "gradient_checkpointing": False, "use_cpu": True, "seed": 7,
        },
    }  # fmt: skip
    path = folder / f"run-{workers}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    paths = os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_DATASETS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "rlkit", "train", str(path)], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    (line,) = (folder / f"run-{workers}" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {name: value for name, value in json.loads(line).items() if name.startswith("time/")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=32_000, help="words of context")
    parser.add_argument(
        "--prompt-words",
        type=int,
        help="words that the model reads (default: all): a step is shorter, the share greater",
    )
    parser.add_argument("--completions", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2, help="scoring.workers of the second run")
    args = parser.parse_args()
    worst = 0.0
    read = "all" if args.prompt_words is None else f"{args.prompt_words:,}"
    print(
        f"{args.completions} completions of one context of {args.words:,} words, of which the model reads {read}; seconds of a step"
    )
    print(f"{'workers':>7}  {'generation':>10}  {'rewards':>8}  {'update':>8}  {'share':>7}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rows.jsonl").write_text(
            "".join(f"{row}\n" for row in rows(1, args.words, args.prompt_words)), encoding="utf-8"
        )
        for workers in (0, args.workers):
            found = train(folder, args.words, args.completions, workers)
            phases = "  ".join(
                f"{found[f'time/{phase}']:>{width}.3f}"
                for phase, width in (("generation", 10), ("rewards", 8), ("update", 8))
            )
            print(f"{workers:>7}  {phases}  {found['time/rewards_share']:>7.2%}", flush=True)
            worst = max(worst, found["time/rewards_share"])
    print(f"at most {LIMIT:.0%}: {'yes' if worst <= LIMIT else 'NO'}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
