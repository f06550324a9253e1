"""Batch arithmetic: how many prompts a generation round takes and how many rounds a run has.

TRL drops what does not divide without a word; here it is an error with the nearest numbers that work. Knows the
meaning of TRL's fields; imports no trainer.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlkit.config import Config
from rlkit.deepspeed_file import check_deepspeed
from rlkit.errors import ConfigError
from rlkit.fields import declared_fields

MAX_DRAWS = 500_000_000  # 6 bytes each
_COUNTS = {
    "sft": ("per_device_train_batch_size", "gradient_accumulation_steps"),
    "grpo": (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_generations",
        "num_iterations",
        "generation_batch_size",
        "steps_per_generation",
    ),
}


@dataclass(frozen=True)
class Batches:
    """`rounds` draws of `rows_per_round` rows each; a round feeds `steps_per_round` optimizer steps (or a part of one).

    For GRPO a row is a prompt, sampled `generations` times; for SFT a round is one optimizer step. Where SFT packs its
    rows, the rounds hold the rows that they would without packing, but an optimizer step takes `completions_per_round`
    sequences of several rows each; `steps` is then None, because it is known when the rows are packed.
    """

    steps: int | None
    rounds: int
    rows_per_round: int
    generations: int
    completions_per_round: int
    steps_per_round: float


def batches(config: Config, world_size: int, rows: int) -> Batches:
    """The arithmetic of a run on `world_size` processes over sources that hold `rows` rows together.

    Raises `ConfigError` for sizes that do not divide, naming the nearest that do.
    """
    get = config.setting
    if world_size < 1:
        raise ConfigError(f"processes: is {world_size}, but a run has at least 1.")
    for name in _COUNTS[config.method]:
        value = get(name)
        if value is not None and value < 1:
            raise ConfigError(f"train.{name}: is {value!r}, but must be a whole number of at least 1.")
    check_deepspeed(config, world_size)
    micro = get("per_device_train_batch_size") * world_size
    accumulation = get("gradient_accumulation_steps")
    if config.method == "sft":
        per_step = micro * accumulation
        if get("packing"):
            return _packed(config, rows, per_step)
        steps = _steps(config, rows, per_step, 1.0)
        return Batches(steps, steps, per_step, 1, per_step, 1.0)

    generations, iterations = get("num_generations"), get("num_iterations")
    batch, per_generation = get("generation_batch_size"), get("steps_per_generation")
    if batch is not None and per_generation is not None:
        raise ConfigError("train.generation_batch_size and train.steps_per_generation: both given; give one of them.")
    if batch is None:
        per_generation = per_generation or accumulation
        batch = micro * per_generation
    elif batch % micro:
        raise ConfigError(
            f"train.generation_batch_size: {batch} completions do not divide by {micro} = per_device_train_batch_size "
            f"{micro // world_size} x {world_size} processes; use {_near(batch, micro)}."
        )
    else:
        per_generation = batch // micro
    if generations < 2:
        raise ConfigError(
            f"train.num_generations: is {generations!r}, but GRPO compares at least 2 completions a prompt."
        )
    if batch % generations:
        valid = sorted({n for n in range(2, batch + 1) if batch % n == 0}, key=lambda n: (abs(n - generations), n))[:3]
        raise ConfigError(
            f"train.num_generations: {generations} does not divide the {batch} completions of a round "
            f"(per_device_train_batch_size {micro // world_size} x {world_size} processes x {per_generation} batches), so a "
            f"group would be torn apart; use {' or '.join(map(str, sorted(valid)))}, or a batch of "
            f"{_near(batch, generations)}."
        )
    # A round is used per_generation * iterations times; accumulation of these make one optimizer step.
    uses = per_generation * iterations
    if uses % accumulation and accumulation % uses:
        raise ConfigError(
            f"train.gradient_accumulation_steps: {accumulation} and the {uses} batches of a round (steps_per_generation "
            f"{per_generation} x num_iterations {iterations}) do not divide one another, so optimizer steps would mix "
            f"rounds unevenly; use {_near(accumulation, uses)}."
        )
    steps_per_round = uses / accumulation
    per_round = batch // generations
    steps = _steps(config, rows, per_round, steps_per_round)
    if steps_per_round > 1 and steps % int(steps_per_round):
        raise ConfigError(
            f"train.max_steps: {steps} is no multiple of the {int(steps_per_round)} optimizer steps that one round of "
            f"completions feeds, so the last round would be cut; use {_near(steps, int(steps_per_round))}."
        )
    _check_save(config, steps_per_round)
    return Batches(steps, round(steps / steps_per_round), per_round, generations, batch, steps_per_round)


def _packed(config: Config, rows: int, sequences: int) -> Batches:
    """The rounds of a run without packing; how many rows an optimizer step takes depends on their lengths."""
    get = config.setting
    if get("max_steps") != -1:
        raise ConfigError(
            f"train.max_steps: is {get('max_steps')!r}, but with train.packing a step takes as many rows as fit, so a number of "
            "steps is no number of rows; give train.num_train_epochs, or padding_free: true in place of packing, which keeps "
            "the rows of a step."
        )
    if get("max_length") is None:
        raise ConfigError(
            "train.max_length: none given, but train.packing fills sequences of that many tokens; give one."
        )
    if get("packing_strategy") != declared_fields("sft")["packing_strategy"]:
        raise ConfigError(
            f"train.packing_strategy: {get('packing_strategy')!r} would cut completions from their prompts; take it out: rows are "
            "packed whole and in planned order."
        )
    return Batches(None, _steps(config, rows, sequences, 1.0), sequences, 1, sequences, 1.0)


def _steps(config: Config, rows: int, per_round: int, steps_per_round: float) -> int:
    steps = config.setting("max_steps")
    if steps == 0 or steps < -1:
        raise ConfigError(f"train.max_steps: is {steps}, but must be at least 1, or -1 for train.num_train_epochs.")
    epochs = config.setting("num_train_epochs")
    if epochs <= 0:
        raise ConfigError(f"train.num_train_epochs: is {epochs}, but must be above 0.")
    if steps == -1:
        steps = int(int(rows * epochs) // per_round * steps_per_round)
    if steps / steps_per_round * per_round > MAX_DRAWS:
        raise ConfigError(
            f"train.max_steps: {steps:,} steps of {per_round:,} rows are more than the {MAX_DRAWS:,} draws that a plan may "
            "hold; train in several runs."
        )
    if steps < 1:
        raise ConfigError(
            f"train.num_train_epochs: {epochs} passes over {rows} rows do not fill one round of {per_round} rows; give more "
            "rows, a smaller batch, or train.max_steps."
        )
    return steps


def _check_save(config: Config, steps_per_round: float) -> None:
    every = config.setting("save_steps")
    if config.setting("save_strategy") != "steps" or steps_per_round <= 1 or not isinstance(every, int):
        return
    if every % int(steps_per_round):
        raise ConfigError(
            f"train.save_steps: {every} is no multiple of the {int(steps_per_round)} optimizer steps that one round of "
            "completions feeds, so a run resumed from such a checkpoint would generate the round anew with other weights; "
            f"use {_near(every, int(steps_per_round))}."
        )


def _near(number: int, divisor: int) -> str:
    """The multiples of `divisor` on both sides of `number`, in words."""
    low = number // divisor * divisor
    return f"{low} or {low + divisor}" if low else str(divisor)
