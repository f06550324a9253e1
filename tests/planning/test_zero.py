"""Model states equal DeepSpeed's own estimates; stages and offload are read from DeepSpeed's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.config import Config, parse_config
from rlkit.errors import ConfigError
from rlkit.planning.zero import CHOICES, Zero, by_deepspeed, model_states, zero_of

ROOT = Path(__file__).resolve().parents[2]


def config(deepspeed: Any) -> Config:
    return parse_config(
        {
            "method": "sft",
            "scratch": {"model_type": "qwen2"},
            "sources": {"only": {"format": "records", "path": "rows.jsonl"}},
            "train": {} if deepspeed is None else {"deepspeed": deepspeed},
        }
    )


@settings(deadline=None, max_examples=100)
@given(
    zero=st.sampled_from([choice for choice in CHOICES if choice.stage in (2, 3)]),
    trainable=st.integers(1, 10**11),
    largest=st.integers(1, 10**9),
    gpus=st.integers(1, 16),
    nodes=st.integers(1, 8),
)
def test_states_are_those_of_deepspeeds_estimators(
    zero: Zero, trainable: int, largest: int, gpus: int, nodes: int
) -> None:
    ours = model_states(zero, trainable, 0, largest, gpus, nodes)
    estimated = by_deepspeed(zero, trainable, largest, gpus, nodes)
    assert estimated is not None
    gpu, host = estimated
    assert ours.gpu == pytest.approx(gpu, abs=4)  # each of our terms is rounded down by itself
    assert ours.host == pytest.approx(host, rel=1e-9, abs=2)


def test_one_gpu_holds_the_same_at_every_stage() -> None:
    whole = 20 * 1_000_000  # 2 weights, 2 gradients, 4 + 8 master and Adam, 4 gradients at the step
    for stage in (0, 1, 2):
        assert model_states(Zero(stage), 1_000_000, 0, 0, gpus=1).gpu == whole


def test_more_is_split_at_every_stage() -> None:
    held = [model_states(Zero(stage), 10**9, 0, 10**6, gpus=8).gpu for stage in (0, 1, 2, 3)]
    assert held == sorted(held, reverse=True)
    assert len(set(held)) == 4


def test_frozen_weights_are_split_at_stage_3_only_and_can_lie_on_the_host() -> None:
    def frozen(zero: Zero) -> int:
        return sum(
            term.bytes for term in model_states(zero, 10, 8000, 1, gpus=8).terms if term.name == "frozen weights"
        )

    assert [frozen(choice) for choice in CHOICES] == [8000, 8000, 8000, 1000, 8000, 8000, 1000, 0]


def test_plain_pytorch_keeps_states_in_the_weights_own_size() -> None:
    assert model_states(Zero(None), 100, 0, 0, gpus=1, weight_bytes=4).gpu == 1600
    assert model_states(Zero(None), 100, 0, 0, gpus=1, weight_bytes=2).gpu == 800
    assert model_states(Zero(None), 100, 0, 0, gpus=2, weight_bytes=4).gpu == 2000  # DDP copies the gradients


@pytest.mark.parametrize(
    ("file", "zero"),
    [
        ("zero1.json", Zero(1)),
        ("zero2.json", Zero(2)),
        ("zero3.json", Zero(3)),
        ("zero3_offload.json", Zero(3, optimizer=True, parameters=True)),
    ],
)
def test_shipped_files_are_read(file: str, zero: Zero) -> None:
    found, values = zero_of(config(str(ROOT / "configs/deepspeed" / file)))
    assert found.same_place(zero)
    assert values["bf16"] == {"enabled": "auto"}
    assert found.bucket == (None if found.stage == 3 else 500_000_000)


def test_settings_may_stand_in_the_config_itself() -> None:
    inline = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}, "reduce_bucket_size": 1e6}}
    zero, _ = zero_of(config(inline))
    assert (zero.stage, zero.offload, zero.bucket, zero.overlap) == (2, "optimizer", 1_000_000, False)
    assert zero_of(config(None))[0] == Zero(None)
    assert zero_of(config({"bf16": {"enabled": True}}))[0].stage == 0


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "zero3.json").write_text("{")
    with pytest.raises(ConfigError, match=r"there is no such file .* Did you mean 'zero3.json'\?"):
        zero_of(config(str(tmp_path / "zero33.json")))
    with pytest.raises(ConfigError, match="is no JSON"):
        zero_of(config(str(tmp_path / "zero3.json")))
    (tmp_path / "zero3.json").write_text(json.dumps({"zero_optimization": {"stage": 5}}))
    with pytest.raises(ConfigError, match="stage is 5, but must be 0, 1, 2 or 3"):
        zero_of(config(str(tmp_path / "zero3.json")))
