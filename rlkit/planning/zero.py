"""Model states under DeepSpeed's ZeRO: weights, gradients and optimizer states, in bytes per GPU and per host.

The 16-bit formulas are those of DeepSpeed's estimators (`by_deepspeed` calls them; a test holds both equal); stages 0 and 1
and 32-bit weights, which they do not cover, follow the same reasoning and are checked against measured tensors. Knows
counts and bytes; knows no activations.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.config import Config
from rlkit.errors import ConfigError, nearest
from rlkit.plain import plain
from rlkit.planning.term import GIB, Term, divided

HOST_FACTOR = 1.5  # what DeepSpeed's estimators add for buffers on the host
MASTER_BYTES, ADAM_BYTES, GRADIENT32_BYTES = 4, 8, 4  # 32-bit copy, two moments, 32-bit gradients at the step
DEFAULT_BUCKET = 500_000_000  # elements, DeepSpeed's own default
STAGE3_PREFETCH = 50_000_000
MAX_LIVE = 1_000_000_000  # parameters that stage 3 keeps gathered


@dataclass(frozen=True)
class Zero:
    """A ZeRO stage and what of it lies on the host; stage None is plain PyTorch without DeepSpeed.

    `bucket` and `prefetch` are in elements, None where the file says `auto`; `half` says that weights are 16-bit.
    """

    stage: int | None
    optimizer: bool = False
    parameters: bool = False
    bucket: int | None = None
    prefetch: int | None = None
    overlap: bool = True
    max_live: int = MAX_LIVE

    @property
    def offload(self) -> str:
        kept = [name for name, there in (("optimizer", self.optimizer), ("parameters", self.parameters)) if there]
        return "+".join(kept) or "none"

    def same_place(self, other: Zero) -> bool:
        return (self.stage, self.optimizer, self.parameters) == (other.stage, other.optimizer, other.parameters)


# From the fastest to the slowest: each next one trades communication, then the host's bandwidth, for memory.
CHOICES = (
    Zero(0),
    Zero(1),
    Zero(2),
    Zero(3),
    Zero(1, optimizer=True),
    Zero(2, optimizer=True),
    Zero(3, optimizer=True),
    Zero(3, optimizer=True, parameters=True),
)


def zero_of(config: Config) -> tuple[Zero, Mapping[str, Any]]:
    """The ZeRO settings of a config's DeepSpeed file, with all that the file says; raises `ConfigError`."""
    section = config.train.get("deepspeed")
    if section is None:
        return Zero(None), {}
    where = f"train.deepspeed: {str(section)!r:.80}"
    if isinstance(section, Mapping):
        values = plain(section)
    else:
        path = Path(str(section))
        if not path.is_file():
            near = nearest(path.name, [p.name for p in path.parent.glob("*.json")] if path.parent.is_dir() else [])
            raise ConfigError(f"{where}: there is no such file (from {Path.cwd()}), so no stage is known.{near}")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{where}: is no JSON ({error}), so no stage is known; mend it.") from error
    given = values.get("zero_optimization") if isinstance(values, dict) else None
    given = {"stage": 0} if given is None else given
    stage = given.get("stage", 0) if isinstance(given, dict) else None
    if stage not in (0, 1, 2, 3):
        raise ConfigError(f"{where}: zero_optimization.stage is {stage!r:.40}, but must be 0, 1, 2 or 3.")
    return Zero(
        stage,
        optimizer=_on_host(given.get("offload_optimizer")),
        parameters=_on_host(given.get("offload_param")),
        bucket=_count(given.get("reduce_bucket_size", DEFAULT_BUCKET)),
        prefetch=_count(given.get("stage3_prefetch_bucket_size", STAGE3_PREFETCH)),
        overlap=bool(given.get("overlap_comm", stage == 3)),
        max_live=_count(given.get("stage3_max_live_parameters", MAX_LIVE)) or MAX_LIVE,
    ), values


def _on_host(section: Any) -> bool:
    return isinstance(section, Mapping) and section.get("device", "none") != "none"


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class States:
    """What a GPU holds of the states, term by term, and the bytes of a host."""

    terms: tuple[Term, ...]
    host: int

    @property
    def gpu(self) -> int:
        """Bytes at the optimizer's step, when a GPU holds most of them."""
        return sum(term.bytes for term in self.terms)


def model_states(
    zero: Zero, trainable: int, frozen_bytes: int, largest: int, gpus: int, nodes: int = 1, weight_bytes: int = 2
) -> States:
    """States of `trainable` parameters beside weights that take no gradient and lie in `frozen_bytes`.

    `gpus` are those of one node. Source: DeepSpeed's `estimate_zero2_model_states_mem_needs` and
    `estimate_zero3_model_states_mem_needs`; frozen weights, of which these know nothing, are whole on every GPU up to stage 2
    and split at stage 3.

    >>> model_states(Zero(2), 1_000_000, 0, 0, gpus=8).gpu
    4250000
    """
    T, d, world = trainable, weight_bytes, gpus * nodes
    found: list[Term] = []

    def add(name: str, bytes_each: int, count: int, split: int = 1, moment: str = "resident", note: str = "") -> None:
        found.append(
            Term(
                name, moment, bytes_each * count // split, f"{bytes_each} B x {count / 1e6:,.1f}M{divided(split)}{note}"
            )
        )

    if zero.stage is None:
        add("weights", d, T)
        add("gradients", d, T)
        add("Adam's two moments", 2 * d, T)
        if world > 1:
            add("DDP buckets", d, T, note=", a copy of the gradients")
        _add_frozen(found, frozen_bytes, 1)
        return States(tuple(found), _loading(T, frozen_bytes, gpus))
    by_state = world if zero.stage >= 1 else 1
    if zero.stage == 3:
        add("largest module, gathered", 4, largest)
        if not zero.parameters:
            add("weights", d, T, world)
    else:
        add("weights", d, T)
    if zero.stage < 2:
        add("gradients", d, T)
    elif zero.stage == 2 and not zero.optimizer:
        add("gradients", d, T, world)
    if not zero.optimizer:
        add("master weights and Adam", MASTER_BYTES + ADAM_BYTES, T, by_state)
        if d == 2:
            add("32-bit gradients", GRADIENT32_BYTES, T, by_state, moment="step")
    if not zero.parameters:
        _add_frozen(found, frozen_bytes, world if zero.stage == 3 else 1)
    return States(tuple(found), _host(zero, T, frozen_bytes, largest, gpus, nodes))


def _add_frozen(found: list[Term], frozen: int, split: int) -> None:
    if frozen:
        found.append(Term("frozen weights", "resident", frozen // split, f"{frozen / GIB:,.2f} GiB{divided(split)}"))


def _loading(trainable: int, frozen: int, gpus: int) -> int:
    """What the processes of a host hold while the model is read, 32 bits a weight, before it lies on the GPUs."""
    return int((4 * trainable + frozen) * gpus * HOST_FACTOR)


def _host(zero: Zero, trainable: int, frozen: int, largest: int, gpus: int, nodes: int) -> int:
    T = trainable
    if zero.stage == 3:
        if not zero.optimizer:
            host = largest * 4 * gpus * HOST_FACTOR
        else:
            host = T * (18 if zero.parameters else 16) / nodes * HOST_FACTOR
        return int(host + (frozen / nodes * HOST_FACTOR if zero.parameters else 0))
    if zero.optimizer:
        return int(T * max(4 * gpus * nodes, 16) * HOST_FACTOR + frozen * gpus * HOST_FACTOR)
    return _loading(T, frozen, gpus)


def by_deepspeed(zero: Zero, trainable: int, largest: int, gpus: int, nodes: int = 1) -> tuple[int, int] | None:
    """(bytes per GPU, bytes per host) of 16-bit states by DeepSpeed's own estimator, None for a stage that has none."""
    if zero.stage not in (2, 3):
        return None
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # DeepSpeed tells of the accelerator that it lacks, which a plan does not need
    try:
        from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
        from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
    finally:
        logging.disable(disabled)
    if zero.stage == 2:
        host, gpu = estimate_zero2_model_states_mem_needs(trainable, gpus, nodes, cpu_offload=zero.optimizer)
    else:
        host, gpu, _ = estimate_zero3_model_states_mem_needs(
            trainable, largest, gpus, nodes, cpu_offload=zero.optimizer, cpu_offload_params=zero.parameters
        )
    return gpu, host
