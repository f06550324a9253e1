"""Which ZeRO stage and offload fit, which of them costs least, and which one key of the config would make it fit.

Every suggestion is a config that was counted again with that change. Knows no printing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from rlkit.config import Config, parse_config
from rlkit.errors import ConfigError
from rlkit.planning.lengths import Lengths
from rlkit.planning.memory import Estimate, engine_problem, estimate
from rlkit.planning.setup import Setup, read_setup
from rlkit.planning.shapes import Shape
from rlkit.planning.term import GIB
from rlkit.planning.zero import CHOICES, Zero
from rlkit.yaml_files import override

SHIPPED = Path("configs/deepspeed")
MAX_PAIRS = 5


@dataclass(frozen=True)
class Room:
    """What a machine offers: bytes of a GPU, the share of it that stays free, bytes of a host's memory (None: not judged)."""

    gpu: int
    margin: float
    host: int | None = None

    @property
    def usable(self) -> int:
        return int(self.gpu * (1 - self.margin))


@dataclass(frozen=True)
class Choice:
    """One stage and offload with what it takes; `problem` says why it does not fit, None where it does."""

    zero: Zero
    estimate: Estimate
    problem: str | None
    of_config: bool = False


def judge(setup: Setup, room: Room, zero: Zero | None = None, of_config: bool = False) -> Choice:
    """Count one choice and say whether it fits."""
    counted = estimate(setup, room.gpu, zero)
    problem = engine_problem(setup, room.gpu)
    if problem is None and counted.gpu > room.usable:
        problem = f"{counted.gpu / GIB:.1f} GiB are more than {room.usable / GIB:.1f} of a GPU"
    if problem is None and room.host is not None and counted.host > room.host:
        problem = f"{counted.host / GIB:.0f} GiB are more than {room.host / GIB:.0f} of a host"
    return Choice(setup.zero if zero is None else zero, counted, problem, of_config)


def choices(setup: Setup, room: Room) -> list[Choice]:
    """The config's own choice and all others, from the fastest to the one that takes least."""
    every = [judge(setup, room, zero) for zero in CHOICES]
    own = judge(setup, room, of_config=True)
    for place, choice in enumerate(every):
        if choice.zero.same_place(own.zero):
            every[place] = own
            return every
    return [own, *every]


def cheapest(found: Sequence[Choice]) -> Choice | None:
    """The first that fits, in the order of `zero.CHOICES`: least communication, then least traffic to the host.

    A config without DeepSpeed that fits needs none. Stage 0 is not recommended to another: stage 1 moves as much data.
    """
    return next(
        (choice for choice in found if choice.problem is None and (choice.of_config or choice.zero.stage)), None
    )


def shipped_file(zero: Zero) -> Path | None:
    """The DeepSpeed file of `configs/deepspeed` for a choice, None where none is shipped (or not from here)."""
    for path in sorted(SHIPPED.glob("*.json")):
        section = json.loads(path.read_text(encoding="utf-8")).get("zero_optimization", {})
        given = Zero(
            section.get("stage"),
            section.get("offload_optimizer", {}).get("device") == "cpu",
            section.get("offload_param", {}).get("device") == "cpu",
        )
        if given.same_place(zero):
            return path
    return None


def keys_of(zero: Zero) -> str:
    """What to write in a config for a choice, in words."""
    path = shipped_file(zero)
    if path is not None:
        return f"train.deepspeed: {path}"
    keys = [f"stage {zero.stage}"]
    keys += ['offload_optimizer {"device": "cpu"}'] if zero.optimizer else []
    keys += ['offload_param {"device": "cpu"}'] if zero.parameters else []
    return f"train.deepspeed: a file with zero_optimization {', '.join(keys)}"


def remedies(config: Config, shape: Shape, lengths: Lengths, setup: Setup, room: Room) -> list[tuple[str, Choice]]:
    """Changes of a config that does not fit, each counted again, that make it fit: single ones, or the first few pairs."""
    changes = list(_changes(config, setup, room))
    pairs = [one + other for one, other in combinations(changes, 2) if not _keys(one) & _keys(other)]
    for tried, most in ((changes, len(changes)), (pairs, MAX_PAIRS)):
        found = (_with(config, each, shape, lengths, setup, room) for each in tried)
        fitting = [pair for pair in found if pair is not None and pair[1].problem is None]
        if fitting:
            return fitting[:most]
    return []


def _keys(changes: Sequence[str]) -> set[str]:
    return {change.partition("=")[0] for change in changes}


def _with(
    config: Config, changes: Sequence[str], shape: Shape, lengths: Lengths, setup: Setup, room: Room
) -> tuple[str, Choice] | None:
    """The changes in words and what the changed config takes; None where it is none."""
    values = config.to_dict()
    try:
        for change in changes:
            override(values, change)
        other = read_setup(parse_config(values), shape, lengths, setup.gpus, setup.nodes)
    except ConfigError:  # e.g. an adapter's layers that this family does not have: no way out
        return None
    return " ".join(changes), judge(other, room)


def _changes(config: Config, setup: Setup, room: Room) -> Iterator[list[str]]:
    get = config.setting
    for zero in CHOICES:
        path = shipped_file(zero)
        if path is not None and not zero.same_place(setup.zero):
            yield [f"train.deepspeed={path}"]
    if setup.engine == "colocate":
        weights = setup.shape.parameters * setup.weight_bytes
        for parallel in (2, 4, 8):
            if setup.gpus % parallel == 0 and setup.shape.kv_heads % parallel == 0 and parallel > setup.engine_parallel:
                yield [f"train.vllm_tensor_parallel_size={parallel}"]
        for percent in range(10, 90, 5):
            if weights / setup.engine_parallel < percent / 100 * room.gpu and percent / 100 != setup.engine_share:
                yield [f"train.vllm_gpu_memory_utilization={percent / 100:g}"]
                break
        if not setup.engine_sleeps:
            yield ["train.vllm_enable_sleep_mode=true"]
        yield ["train.vllm_mode=server"]
    elif config.method == "grpo" and setup.engine is None:
        yield ["train.use_vllm=true"]
    if not setup.checkpointing:
        yield ["train.gradient_checkpointing=true"]
    if setup.sequences % 2 == 0:
        changes = [
            f"train.per_device_train_batch_size={setup.sequences // 2}",
            f"train.gradient_accumulation_steps={2 * get('gradient_accumulation_steps')}",
        ]
        if config.method == "grpo" and get("steps_per_generation"):
            changes.append(f"train.steps_per_generation={2 * get('steps_per_generation')}")
        yield changes
    if setup.adapter is None:
        yield ["model.use_peft=true"]
