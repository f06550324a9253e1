"""Parameters counted from a config.json are those that the model has, for the table, for families and for adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlkit.config import Config, parse_config
from rlkit.errors import ConfigError
from rlkit.planning.lengths import Lengths
from rlkit.planning.setup import read_setup
from rlkit.planning.shapes import _on_meta, known_shapes, read_shape, shape_of

SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LENGTHS = Lengths(8, 4, "test")


def config(**changes: Any) -> Config:
    values = {
        "method": "grpo",
        "scratch": {"model_type": "qwen2", **SIZES},
        "sources": {"only": {"format": "records", "path": "rows.jsonl"}},
        "train": {"max_steps": 4},
    }
    return parse_config(values | changes)


@pytest.mark.parametrize("name", known_shapes())
def test_the_table_gives_the_published_counts(name: str) -> None:
    fields = {key: value for key, value in known_shapes()[name].items() if key not in ("source", "parameters")}
    assert known_shapes()[name]["source"] == f"https://huggingface.co/{name}/blob/main/config.json"
    assert read_shape(fields, name, name).parameters == known_shapes()[name]["parameters"]
    assert _on_meta(fields["model_type"], fields, name, name).parameters == known_shapes()[name]["parameters"]


@pytest.mark.parametrize(
    "fields",
    [
        {"model_type": "qwen2"},
        {"model_type": "qwen2", "tie_word_embeddings": True},
        {"model_type": "llama"},
        {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
        {"model_type": "llama", "head_dim": 32},
        {"model_type": "mistral", "head_dim": 16},
        {"model_type": "qwen3"},
        {"model_type": "qwen3", "attention_bias": True, "head_dim": 16},
    ],
    ids=str,
)
def test_closed_forms_count_what_the_model_has(fields: dict[str, Any]) -> None:
    counted = read_shape({**SIZES, **fields}, "m", "m")
    built = _on_meta(fields["model_type"], {**SIZES, **fields}, "m", "m")
    for name in ("parameters", "largest", "matrices", "tied", "head_dim", "kv_heads", "hidden", "layers"):
        assert getattr(counted, name) == getattr(built, name), name


def test_another_family_is_built_to_be_counted() -> None:
    fields = {
        **SIZES,
        "model_type": "lfm2",
        "layer_types": ["conv", "full_attention", "conv"],
        "block_auto_adjust_ff_dim": False,
    }
    shape = read_shape(fields, "m", "m")
    assert shape.on_meta
    assert shape.parameters > 3 * 3 * 64 * 96
    with pytest.raises(ConfigError, match="counted by building it"):
        read_shape(fields, "m", "m", build=False)


def test_a_size_that_is_left_out_is_the_familys_own() -> None:
    sizes = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
    shape = read_shape({"model_type": "qwen2", **sizes, "num_attention_heads": 32}, "m", "m")
    assert (shape.on_meta, shape.kv_heads) == (True, 32)


@pytest.mark.parametrize("targets", [None, "all-linear", ["q_proj", "down_proj"]], ids=str)
def test_adapters_have_as_many_parameters_as_peft_makes(targets: Any) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    model = {"use_peft": True, "lora_r": 5, **({} if targets is None else {"lora_target_modules": targets})}
    given = config(model=model)
    setup = read_setup(given, shape_of(given), LENGTHS, gpus=1)
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **SIZES))
    adapted: Any = get_peft_model(base, LoraConfig(r=5, target_modules=targets, task_type="CAUSAL_LM"))
    assert setup.trainable == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def test_a_layer_that_is_not_there_is_named() -> None:
    given = config(model={"use_peft": True, "lora_target_modules": ["q_prj"]})
    with pytest.raises(ConfigError, match=r"lora_target_modules: 'q_prj' is none .* Did you mean 'q_proj'\?"):
        read_setup(given, shape_of(given), LENGTHS, gpus=1)


def test_a_model_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **SIZES}))
    given = config(scratch=None, model={"model_name_or_path": str(tmp_path)})
    assert shape_of(given).layers == 3
    assert shape_of(config(), str(tmp_path / "config.json")).model_type == "llama"


def test_a_model_that_is_nowhere_names_the_ways_out() -> None:
    given = config(scratch=None, model={"model_name_or_path": "Qwen/Qwen2.5-7B"})
    with pytest.raises(
        ConfigError, match=r"nothing is downloaded\); give --shape .* Did you mean 'Qwen/Qwen2.5-7B-Instruct'\?"
    ):
        shape_of(given)
    assert shape_of(given, "Qwen/Qwen2.5-7B-Instruct").parameters == 7_615_616_512
    with pytest.raises(ConfigError, match=r"Did you mean 'Qwen2.5-3B-Instruct'\? In the table: Qwen/Qwen2.5"):
        shape_of(given, "Qwen2.5-3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "holds list"),
        (json.dumps({"model_type": "llama", **SIZES, "hidden_size": "x"}), "one is no number above 0"),
        (json.dumps({"model_type": "llama", **SIZES, "num_attention_heads": 0}), "one is no number above 0"),
        (json.dumps({"model_type": "llama", **SIZES, "vocab_size": -5}), "one is no number above 0"),
        ('{"model_type": "bertt"}', "describes no language model of type 'bertt'"),
    ],
    ids=["half", "list", "text", "zero", "negative", "unknown"],
)
def test_a_broken_config_json_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        shape_of(config(), str(tmp_path))
