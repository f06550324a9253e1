"""The batch arithmetic agrees with what TRL's sampler does, and numbers that do not divide are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rlkit.batches import batches
from rlkit.config import Config, parse_config
from rlkit.errors import ConfigError


def config(method: str = "grpo", **train: Any) -> Config:
    values = {
        "method": method,
        "model": {"model_name_or_path": "m"},
        "sources": {"s": {"format": "records", "path": "x"}},
        "train": train,
    }
    return parse_config(values | ({"rewards": "care"} if method == "grpo" else {}))


def test_released_care_arithmetic() -> None:
    sums = batches(
        config(
            per_device_train_batch_size=2,
            gradient_accumulation_steps=40,
            steps_per_generation=160,
            num_generations=5,
            max_steps=2264,
        ),
        world_size=8,
        rows=10_000,
    )
    assert (sums.rows_per_round, sums.completions_per_round, sums.rounds, sums.steps) == (512, 2560, 566, 2264)


def test_epochs_become_steps() -> None:
    train = {"per_device_train_batch_size": 8, "num_generations": 4, "num_train_epochs": 2}
    assert batches(config(**train), 1, rows=7).steps == 7  # 14 prompts, 2 a round
    with pytest.raises(ConfigError, match="do not fill one round of 2 rows"):
        batches(config(**{**train, "num_train_epochs": 0.1}), 1, rows=7)


def test_sft_rows_a_step() -> None:
    sums = batches(config("sft", per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=9), 2, rows=5)
    assert (sums.rows_per_round, sums.rounds, sums.steps) == (16, 9, 9)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            {"per_device_train_batch_size": 6, "num_generations": 4},
            "4 does not divide the 6 completions of a round (per_device_train_batch_size 6 x 1 processes x 1 batches), so a "
            "group would be torn apart; use 2 or 3 or 6, or a batch of 4 or 8.",
        ),
        ({"num_generations": 1}, "is 1, but GRPO compares at least 2 completions a prompt"),
        ({"generation_batch_size": 12}, "12 completions do not divide by 8 = per_device_train_batch_size 8 x 1"),
        ({"generation_batch_size": 8, "steps_per_generation": 1}, "both given; give one of them"),
        ({"steps_per_generation": 4, "max_steps": 6}, "6 is no multiple of the 4 optimizer steps"),
        ({"steps_per_generation": 4, "max_steps": 8, "save_steps": 6}, "save_steps: 6 is no multiple of the 4"),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 3}, "do not divide one another"),
        ({"max_steps": 0}, "train.max_steps: is 0, but must be at least 1, or -1"),
        ({"num_train_epochs": 0}, "train.num_train_epochs: is 0, but must be above 0"),
        ({"generation_batch_size": 0}, "train.generation_batch_size: is 0, but must be a whole number of at least 1"),
        ({"num_iterations": 0}, "train.num_iterations: is 0"),
        ({"max_steps": 10**9}, "more than the 500,000,000 draws that a plan may hold"),
        ({"per_device_train_batch_size": 0}, "is 0, but must be a whole number of at least 1"),
    ],
)
def test_numbers_that_do_not_divide(train: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        batches(config(**train), 1, rows=1000)
    assert message in str(caught.value)
    assert str(caught.value).startswith("train.")


def test_a_run_has_a_process() -> None:
    with pytest.raises(ConfigError, match="processes: is 0, but a run has at least 1"):
        batches(config(), 0, rows=10)


@settings(max_examples=60, deadline=None)
@given(
    per_device=st.integers(1, 4),
    accumulation=st.integers(1, 4),
    per_generation=st.integers(1, 4),
    generations=st.integers(2, 4),
    iterations=st.integers(1, 2),
    rounds=st.integers(1, 4),
)
def test_trls_sampler_walks_exactly_the_planned_rows(
    per_device: int, accumulation: int, per_generation: int, generations: int, iterations: int, rounds: int
) -> None:
    from trl.trainer.utils import RepeatSampler

    uses = per_generation * iterations
    assume((per_device * per_generation) % generations == 0)
    assume(uses % accumulation == 0)
    steps = rounds * uses // accumulation
    sums = batches(
        config(
            per_device_train_batch_size=per_device,
            gradient_accumulation_steps=accumulation,
            steps_per_generation=per_generation,
            num_generations=generations,
            num_iterations=iterations,
            max_steps=steps,
            save_steps=steps,
        ),
        1,
        rows=99,
    )
    rows = list(range(sums.rounds * sums.rows_per_round))
    walked = list(RepeatSampler(rows, generations, batch_size=sums.rows_per_round, repeat_count=uses, shuffle=False))
    assert list(dict.fromkeys(walked)) == rows  # every planned row, in order, none dropped
    assert len(walked) == sums.steps * accumulation * per_device * per_generation  # TRL's loader takes this many
