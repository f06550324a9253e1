"""What a set of configs/ablate/gpu takes of one GPU: counted from its configs, at a speed that is assumed until one is measured.

python benchmarks/ablation_hours.py configs/ablate/gpu/care.yaml [before.base.config=configs/ablate/gpu/base-150m.yaml]
    [--tflops 100] [--decode-ms 30] [--json]

hours = operations / speed + decoded tokens one after the other x time of one. A forward pass is counted as in benchmarks/gpu.py; a
backward pass is two, gradient checkpointing one more. GRPO reads every prompt once to answer it and once more to learn, and a round
decodes as long as its longest answer. Rows have the mean number of words of their source.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from gpu_sizes import forward_flops

from rlkit.ablation.reading import load_ablation
from rlkit.ablation.settings import Ablation, Stage, opened
from rlkit.batches import batches
from rlkit.config import Config
from rlkit.evaluation.suite import Suite
from rlkit.plain import plain
from rlkit.sources import schedule_of

TOKENS_PER_WORD = 1.5
WORDS = {"hotpotqa": 900, "musique": 1520, "synthetic": 32, "dialogues": 45}  # of a context, mean
LOOKUP_TOKENS, FRAME_TOKENS, DEMONSTRATION_TOKENS = 45, 30, 120
MAX_ROWS = {"hotpotqa": 90_447, "musique": 19_938}  # of the training files


@dataclass(frozen=True)
class Cost:
    """Tokens that pass through the model, floating point operations, and tokens decoded one after the other."""

    tokens: float
    flops: float
    decoded: float

    def hours(self, tflops: float, decode_ms: float) -> float:
        return (self.flops / (tflops * 1e12) + self.decoded * decode_ms / 1e3) / 3600

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.tokens + other.tokens, self.flops + other.flops, self.decoded + other.decoded)


def row_tokens(spec: Mapping[str, Any]) -> float:
    """The mean tokens of a source's rows, with what they show of an answer."""
    inner = spec.get("of", spec)
    words = WORDS[inner["format"]]
    if spec.get("words"):
        words = max(words, fmean(spec["words"]) if isinstance(spec["words"], list | tuple) else spec["words"])
    shown = LOOKUP_TOKENS * spec.get("lookups", 0) + DEMONSTRATION_TOKENS * bool(spec.get("demonstrations"))
    return words * TOKENS_PER_WORD + shown + FRAME_TOKENS


def row_count(spec: Mapping[str, Any]) -> int:
    return spec.get("rows") or min(spec.get("limit") or 10**9, MAX_ROWS[spec.get("of", spec)["format"]])


def training(config: Config, size: Mapping[str, Any]) -> Cost:
    """One training from its config."""
    sources = plain(config.sources)
    sums = batches(config, 1, sum(map(row_count, sources.values())))
    schedule = schedule_of(config)
    shares = [schedule.shares(step, sums.rounds) for step in range(0, sums.rounds, max(1, sums.rounds // 100))]
    mean = sum(fmean(share[name] for share in shares) * row_tokens(spec) for name, spec in sources.items())
    passes = 3 + bool(config.setting("gradient_checkpointing"))
    rows, answer, decoded = sums.rounds * sums.rows_per_round, 0.0, 0
    if config.method == "grpo":
        mean = min(mean, config.prompt.max_tokens or mean)
        answer, decoded = config.setting("max_completion_length"), config.setting("max_completion_length") * sums.rounds
        rows, passes = rows * sums.generations, passes + 1
    tokens = rows * (mean + answer)
    told = rows * answer if answer else tokens
    return Cost(tokens, passes * forward_flops(size, tokens, mean + answer, told), decoded)


def answering(rows: float, mean: float, answer: int, size: Mapping[str, Any], at_once: int) -> Cost:
    """Reading `rows` prompts and answering them, `at_once` at a time."""
    tokens = rows * (mean + answer)
    return Cost(tokens, forward_flops(size, tokens, mean + answer, rows * answer), rows / at_once * answer)


def evaluation(suites: list[Suite], size: Mapping[str, Any], at_once: int) -> Cost:
    """One model's evaluation."""
    asked = [(spec, suite.max_new_tokens) for suite in suites for spec in plain(suite.data).values()]
    costs = [answering(row_count(spec), row_tokens(spec), answer, size, at_once) for spec, answer in asked]
    return sum(costs[1:], costs[0])


def stage_cost(ablation: Ablation, stage: Stage, size: Mapping[str, Any]) -> Cost:
    seed = ablation.seeds[0]
    if stage.sample is not None:
        config = opened(stage)
        whole = training(config, size)
        rows = batches(config, 1, 1).rounds * batches(config, 1, 1).completions_per_round
        answer = config.setting("max_completion_length")
        return answering(rows, whole.tokens / rows - answer, answer, size, 128)
    config = ablation.config(seed, stage.name)
    if stage.rows is not None:  # right answers to the prompts of the sampling stage, as many as SFT takes
        sampled = opened(ablation.stages[stage.rows])
        rows = config.setting("max_steps") * batches(config, 1, 1).rows_per_round
        tokens = (
            rows
            * training(sampled, size).tokens
            / batches(sampled, 1, 1).rounds
            / batches(sampled, 1, 1).completions_per_round
        )
        passes = 3 + bool(config.setting("gradient_checkpointing"))
        return Cost(tokens, passes * forward_flops(size, tokens, tokens / rows, tokens), 0)
    return training(config, size)


def costs(ablation: Ablation) -> Iterator[tuple[str, Cost]]:
    """Every stage of one seed with its evaluation."""
    first = next(iter(ablation.stages.values()))
    size = plain(ablation.config(ablation.seeds[0], first.name).scratch)
    settings, suites = ablation.evaluation(ablation.seeds[0])
    asked = evaluation(suites, size, settings.model["batch_size"])
    for stage in ablation.stages.values():
        made = stage_cost(ablation, stage, size)
        yield stage.name, made + asked if stage.has_model else made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument(
        "--tflops", type=float, default=100.0, help="operations a second that a training reaches, in 10^12"
    )
    parser.add_argument("--decode-ms", type=float, default=30.0, help="time of one decoding step of a batch")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    ablation = load_ablation(args.config, args.overrides)
    found = dict(costs(ablation))
    hours = {name: cost.hours(args.tflops, args.decode_ms) for name, cost in found.items()}
    total = sum(hours.values()) * len(ablation.seeds)
    if args.json:
        print(json.dumps({"stages": hours, "seeds": len(ablation.seeds), "hours": round(total, 1)}))
        return 0
    for name, cost in found.items():
        print(
            f"{name:18} {cost.tokens / 1e6:8.1f} M tokens {cost.flops / 1e15:9.1f} PFLOP {cost.decoded:9.0f} decoded {hours[name]:6.2f} h"
        )
    print(f"{sum(hours.values()):.1f} h a seed, {total:.1f} h for {len(ablation.seeds)} seeds, one job at a time")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
