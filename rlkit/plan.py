"""`rlkit plan`: what a run takes of every GPU and host, which ZeRO stage fits, and how many tokens it walks through.

Counts from the config, the model's shape and the machine as told; it holds no GPU, downloads nothing and knows no speed. Hours
are stated for a speed that was measured and given, never for one that is assumed.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from typing import Any

from rlkit.batches import Batches, batches
from rlkit.config import Config, load_config
from rlkit.errors import ConfigError, RlkitError
from rlkit.planning.choose import Choice, Room, cheapest, choices, keys_of, remedies
from rlkit.planning.lengths import lengths_of
from rlkit.planning.memory import cache_bytes_per_token
from rlkit.planning.setup import Setup, read_setup
from rlkit.planning.shapes import FAMILIES, shape_of
from rlkit.planning.term import GIB, MOMENTS
from rlkit.planning.zero import by_deepspeed

SPEED = "tokens of a step (prompts and completions of all GPUs) / seconds of that step"


@dataclass(frozen=True)
class Work:
    """Tokens and steps of a run; None where `missing` says what is not known."""

    tokens_per_step: int
    sequences_per_step: int
    steps: int | None
    hours: float | None
    missing: tuple[str, ...] = ()
    refused: str | None = None


@dataclass(frozen=True)
class Report:
    """All that is said of a config; `estimator` is (GPU, host) of the states by DeepSpeed, None for a stage that it omits."""

    setup: Setup
    room: Room
    own: Choice
    found: list[Choice]
    recommended: Choice | None
    ways: list[tuple[str, Choice]]
    work: Work
    estimator: tuple[int, int] | None

    @property
    def fits(self) -> bool:
        return self.own.problem is None and self.work.refused is None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. train.per_device_train_batch_size=1")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs of one machine (default 1)")
    parser.add_argument("--nodes", type=int, default=1, help="machines (default 1)")
    parser.add_argument("--gpu-memory", type=float, default=80.0, metavar="GiB", help="memory of a GPU (default 80)")
    parser.add_argument(
        "--host-memory", type=float, metavar="GiB", help="memory of a machine; without it none is judged"
    )
    parser.add_argument("--margin", type=float, default=0.08, help="share of a GPU that must stay free (default 0.08)")
    parser.add_argument("--shape", metavar="MODEL", help="count with the shape of this model, folder or config.json")
    parser.add_argument("--prompt-tokens", type=int, help="the longest prompt, where the config states no limit")
    parser.add_argument(
        "--completion-tokens", type=int, help="the longest completion, where the config states no limit"
    )
    parser.add_argument("--rows", type=int, help="rows of all sources together, where they are not on this machine")
    parser.add_argument("--tokens-per-second", type=float, help=f"measured speed: {SPEED}")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def main(args: argparse.Namespace) -> int:
    config = load_config(args.config, args.overrides)
    report = plan(
        config,
        gpus=args.gpus,
        nodes=args.nodes,
        room=_room(args.gpu_memory, args.margin, args.host_memory),
        shape=args.shape,
        prompt_tokens=args.prompt_tokens,
        completion_tokens=args.completion_tokens,
        rows=args.rows,
        tokens_per_second=args.tokens_per_second,
    )
    if args.json:
        print(json.dumps(_as_json(args.config, report), indent=2))
    else:
        from rlkit.planning.show import show

        show(args.config, report)
    return 0 if report.fits else 1


def _room(gpu_memory: float, margin: float, host_memory: float | None) -> Room:
    for name, value in (("--gpu-memory", gpu_memory), ("--host-memory", host_memory)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name}: is {value!r}, but must be a number of GiB above 0.")
    if not 0 <= margin < 1:
        raise ConfigError(f"--margin: is {margin!r}, but is a share of a GPU, so it must be from 0 to below 1.")
    return Room(int(gpu_memory * GIB), margin, None if host_memory is None else int(host_memory * GIB))


def plan(
    config: Config,
    *,
    gpus: int = 1,
    nodes: int = 1,
    room: Room,
    shape: str | None = None,
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
    rows: int | None = None,
    tokens_per_second: float | None = None,
) -> Report:
    """Count a run on `nodes` machines of `gpus` GPUs; raises `ConfigError` for what cannot be counted, with the way out."""
    for name, value in (("--gpus", gpus), ("--nodes", nodes), ("--rows", rows)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}: is {value}, but must be a whole number of at least 1.")
    if tokens_per_second is not None and not (math.isfinite(tokens_per_second) and tokens_per_second > 0):
        raise ConfigError(f"--tokens-per-second: is {tokens_per_second!r}, but must be a number above 0.")
    model = shape_of(config, shape)
    lengths = lengths_of(config, prompt_tokens, completion_tokens)
    setup = read_setup(config, model, lengths, gpus, nodes)
    found = choices(setup, room)
    own = next(choice for choice in found if choice.of_config)
    ways = [] if own.problem is None else remedies(config, model, lengths, setup, room)
    estimator = None
    if setup.weight_bytes == 2:
        estimator = by_deepspeed(own.zero, setup.trainable, model.largest, gpus, nodes)
    return Report(
        setup, room, own, found, cheapest(found), ways, _work(config, setup, rows, tokens_per_second), estimator
    )


def _work(config: Config, setup: Setup, rows: int | None, speed: float | None) -> Work:
    """Tokens per step and steps; what is not known is named, not assumed."""
    sequences = setup.sequences * setup.world * config.setting("gradient_accumulation_steps")
    tokens = sequences * setup.lengths.total
    missing: list[str] = []
    steps, refused = None, None
    if config.setting("max_steps") == -1 and rows is None:
        rows, reason = _rows(config)
        if rows is None:
            missing.append(f"steps: the number of rows is not known ({reason}); give --rows")
    if config.setting("max_steps") != -1 or rows is not None:
        try:
            sums: Batches = batches(config, setup.world, rows or 1)
            steps = sums.steps
            if steps is None:
                missing.append("steps: how many sequences the rows are packed into is known when they are packed")
        except ConfigError as error:
            refused = str(error)
    hours = None
    if speed is None:
        missing.append(
            f"hours: steps x tokens of a step / tokens per second / 3,600; give --tokens-per-second ({SPEED})"
        )
    elif steps is not None:
        hours = steps * tokens / speed / 3600
    return Work(tokens, sequences, steps, hours, tuple(missing), refused)


def _rows(config: Config) -> tuple[int | None, str]:
    from rlkit.sources import load_sources

    try:
        return sum(load_sources(config).sizes().values()), ""
    except RlkitError as error:
        return None, " ".join(str(error).split())[:160]


def _as_json(name: str, report: Report) -> dict[str, Any]:
    setup, own, work = report.setup, report.own, report.work

    def told(choice: Choice) -> dict[str, Any]:
        return {
            "stage": choice.zero.stage,
            "offload": choice.zero.offload,
            "gpu_gib": round(choice.estimate.gpu / GIB, 3),
            "host_gib": round(choice.estimate.host / GIB, 3),
            "fits": choice.problem is None,
            "problem": choice.problem,
            "config": choice.of_config,
        }

    return {
        "config": name,
        "model": {
            "name": setup.shape.name,
            "parameters": setup.shape.parameters,
            "trained": setup.trainable,
            "formulas_checked_for_its_family": setup.shape.model_type in FAMILIES,
        },
        "gpus": setup.gpus,
        "nodes": setup.nodes,
        "gpu_memory_gib": report.room.gpu / GIB,
        "usable_gib": round(report.room.usable / GIB, 3),
        "lengths": {"prompt": setup.lengths.prompt, "completion": setup.lengths.completion, "told": setup.lengths.told},
        "fits": report.fits,
        "refused": work.refused,
        "terms": [
            {"name": t.name, "moment": t.moment, "gib": round(t.bytes / GIB, 4), "formula": t.formula}
            for moment in MOMENTS
            for t in own.estimate.terms
            if t.moment == moment
        ],
        "states_by_deepspeed_gib": None if report.estimator is None else [round(x / GIB, 3) for x in report.estimator],
        "cache_bytes_per_token": cache_bytes_per_token(setup),
        "choices": [told(choice) for choice in report.found],
        "recommended": None
        if report.recommended is None
        else {**told(report.recommended), "write": keys_of(report.recommended.zero)},
        "ways_out": [{"change": change, **told(choice)} for change, choice in report.ways],
        "tokens_per_step": work.tokens_per_step,
        "sequences_per_step": work.sequences_per_step,
        "steps": work.steps,
        "hours": None if work.hours is None else round(work.hours, 2),
        "missing": list(work.missing),
    }
