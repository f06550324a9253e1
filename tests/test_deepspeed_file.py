"""What a DeepSpeed file cannot mean in a run is said before a model is loaded, and what is right is let through."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlkit.batches import batches
from rlkit.config import Config, parse_config
from rlkit.deepspeed_file import check_deepspeed
from rlkit.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
ZERO3 = {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}
# The form in which transformers documents it: every shared setting is "auto".
AUTO = {
    "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto", "train_batch_size": "auto",
    "gradient_clipping": "auto", "bf16": {"enabled": "auto"}, "zero_optimization": ZERO3,
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}},
    "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": "auto", "warmup_max_lr": "auto", "warmup_num_steps": "auto"}},
    "activation_checkpointing": {"partition_activations": True}, "wall_clock_breakdown": False, "steps_per_print": 10,
    "flops_profiler": {"enabled": False}, "comms_logger": {"enabled": False}, "tensorboard": {"enabled": False},
    "zero_allow_untested_optimizer": True, "communication_data_type": "fp32", "aio": {"block_size": 1048576},
    "data_types": {"grad_accum_dtype": "fp32"}, "_note": "for the new cluster", "comment": "x",
}  # fmt: skip


def config(settings: dict[str, Any] | str, model: dict[str, Any] | None = None, **train: Any) -> Config:
    return parse_config({
        "method": "grpo", "model": {"model_name_or_path": "x", **(model or {})}, "rewards": "care",
        "sources": {"s": {"format": "records", "path": "x"}},
        "train": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "deepspeed": settings, **train},
    })  # fmt: skip


def changed(**settings: Any) -> dict[str, Any]:
    return {**AUTO, **settings}


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs/deepspeed").glob("*.json")))
def test_the_shipped_files_are_let_through(name: str) -> None:
    check_deepspeed(config(str(ROOT / "configs/deepspeed" / name)), 8)


def test_what_agrees_is_let_through() -> None:
    check_deepspeed(config(AUTO), 8)
    check_deepspeed(config(changed(zero_optimization={"stage": 2, "offload_param": {"device": "none"}})), 8)
    agreed = changed(
        train_batch_size=64, train_micro_batch_size_per_gpu=4, gradient_clipping=1, bf16={"enabled": True},
        optimizer={"type": "AdamW", "params": {"lr": 1e-6, "betas": [0.9, 0.999], "weight_decay": 0.0}},
    )  # fmt: skip
    check_deepspeed(config(agreed, bf16=True, learning_rate=1e-6), 8)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (changed(zero_optimisation={"stage": 3}), "zero_optimisation: DeepSpeed reads no such key and would go on without it. Did you mean 'zero_optimization'?"),
        (changed(train_batchsize=64), "Did you mean 'train_batch_size'?"),
        (changed(zero_optimization={**ZERO3, "overlap_com": True}), "zero_optimization.overlap_com: DeepSpeed has no such key and would refuse it once the model is loaded. Did you mean 'overlap_comm'?"),
        (changed(zero_optimization={**ZERO3, "stage3_prefetch_bucketsize": 1}), "Did you mean 'stage3_prefetch_bucket_size'?"),
        (changed(zero_optimization={**ZERO3, "offload_optimizer": {"devise": "cpu"}}), "offload_optimizer.devise: DeepSpeed has no such key"),
        (changed(zero_optimization={"stage": 4}), "zero_optimization.stage: is 4, but must be 0, 1, 2 or 3"),
        (changed(zero_optimization={"stage": "auto"}), "zero_optimization.stage: is 'auto'"),
        (changed(zero_optimization=3), "zero_optimization: is 3, but must be a mapping"),
        (changed(zero_optimization={"stage": 3}), "model/ would hold none; set it to true"),
        (changed(zero_optimization={"stage": 2, "offload_param": {"device": "cpu"}}), "weights leave the GPU under stage 3 only, and under stage 2 DeepSpeed goes on without it"),
        (changed(train_micro_batch_size_per_gpu=8), "train_micro_batch_size_per_gpu: is 8, but train.per_device_train_batch_size is 4"),
        (changed(gradient_accumulation_steps=1), "gradient_accumulation_steps: is 1, but train.gradient_accumulation_steps is 2"),
        (changed(train_batch_size=32), "train_batch_size: is 32, but 4 (train.per_device_train_batch_size) x 2 (train.gradient_accumulation_steps) x 8 processes make 64"),
        (changed(gradient_clipping=0.5), "gradient_clipping: is 0.5, but train.max_grad_norm is 1.0"),
        (changed(optimizer={"type": "AdamW", "params": {"lr": 1e-4}}), "optimizer.params.lr: is 0.0001, but train.learning_rate is 1e-06"),
        (changed(optimizer={"type": "AdamW", "params": {"betas": [0.9, 0.95]}}), "train.adam_beta2 are 0.9 and 0.999"),
        (changed(bf16={"enabled": False}), "bf16.enabled: is False, but train.bf16 is True"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "zero.json"
    path.write_text(json.dumps(settings))
    with pytest.raises(ConfigError) as caught:
        check_deepspeed(config(str(path), bf16=True), 8)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_deepspeed_and_transformers_would_refuse_the_same(tmp_path: Path) -> None:
    """The list of settings that stand twice is theirs."""
    from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

    wrong = changed(
        train_batch_size=32, train_micro_batch_size_per_gpu=8, gradient_accumulation_steps=1, gradient_clipping=0.5,
        optimizer={"type": "AdamW", "params": {"lr": 1e-4, "betas": [0.9, 0.95], "eps": 1e-6, "weight_decay": 0.1}},
        scheduler={"type": "WarmupLR", "params": {"warmup_max_lr": 1e-4}},
        bf16={"enabled": False}, fp16={"enabled": True},
    )  # fmt: skip
    run = config(wrong, bf16=True, fp16=False)
    fields = {name: run.setting(name) for name in (
        "per_device_train_batch_size", "gradient_accumulation_steps", "max_grad_norm", "learning_rate", "adam_beta1",
        "adam_beta2", "adam_epsilon", "weight_decay", "bf16", "fp16",
    )}  # fmt: skip
    theirs = HfTrainerDeepSpeedConfig(json.loads(json.dumps(wrong)))
    theirs.trainer_config_process(
        SimpleNamespace(**fields, world_size=8, save_on_each_node=False, fp16_full_eval=False, bf16_full_eval=False)
    )
    names = {line.split()[2].partition("=")[0] for line in theirs.mismatches}
    assert len(names) == 11
    for name in names:
        section, _, rest = name.partition(".")
        only = {section: wrong[section]}
        for key in rest.split(".")[:-1]:
            only = {section: {key: {rest.split(".")[-1]: wrong[section][key][rest.split(".")[-1]]}}}
        with pytest.raises(ConfigError, match=name):
            check_deepspeed(config(only, bf16=True, fp16=False), 8)


def test_whole_weights_where_they_are_needed() -> None:
    split = changed(zero_optimization={"stage": 3})
    check_deepspeed(config(split, {"use_peft": True}), 8)  # an adapter is gathered in any case
    with pytest.raises(ConfigError, match="vLLM takes whole weights"):
        check_deepspeed(config(AUTO, use_vllm=True, ds3_gather_for_generation=False), 8)
    check_deepspeed(config(AUTO, use_vllm=False, ds3_gather_for_generation=False), 8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"bf16": {},\n "fp16": {},}', ":2: not readable as JSON"),
        ('{"bf16": {}, "bf16": {}}', "the key 'bf16' stands twice"),
        ("[]", "holds list, but DeepSpeed's settings are a mapping"),
        ("[" * 100_000, "cannot be read as a JSON file"),
        ("\ud800", "cannot be read as a JSON file"),
    ],
)
def test_a_file_that_is_none(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "zero.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError) as caught:
        batches(config(str(path)), 2, 100)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
