"""A config is read once, checked whole, and says what is wrong with key, rule and nearest name."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from rlkit.config import Config, differences, load_config, parse_config
from rlkit.errors import ConfigError
from rlkit.fields import UNKNOWN, declared_fields, declared_types, declared_words
from rlkit.machine import lacking
from rlkit.train import train
from rlkit.yaml_files import read_yaml

MINIMAL = {
    "method": "grpo",
    "model": {"model_name_or_path": "m"},
    "sources": {"s": {"format": "records", "path": "x.jsonl"}},
    "rewards": "care",
}


def parse(**changes: object) -> Config:
    return parse_config({**MINIMAL, **changes}, default_name="name")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["grpo", "sft", "model"])
def test_declared_fields_are_trls_own(kind: str) -> None:
    trl = pytest.importorskip("trl")
    cls = {"grpo": trl.GRPOConfig, "sft": trl.SFTConfig, "model": trl.ModelConfig}[kind]
    real = {f.name: f.default for f in dataclasses.fields(cls) if f.init}
    read = declared_fields(kind)
    assert read.keys() == real.keys()
    assert {name: value for name, value in read.items() if value is not UNKNOWN}.items() <= real.items()


def test_types_are_those_that_trl_declares() -> None:
    types = declared_types("grpo")
    assert types["num_generations"] == (int, type(None))
    assert types["use_vllm"] == (bool,)
    assert len(types) > 120  # nearly all of them
    assert parse(model={"model_name_or_path": "m", "lora_target_modules": "all-linear"})
    assert parse(train={"learning_rate": 1, "deepspeed": {"a": 1}, "report_to": ["none"]}).train["learning_rate"] == 1


def test_defaults() -> None:
    config = parse()
    assert config.task == "care"
    assert str(config.output_dir) == "runs/name"
    assert config.setting("num_generations") == 8
    assert config.setting("shuffle_dataset") is False


def test_the_task_names_the_preset_where_no_rewards_are_given() -> None:
    assert parse(rewards=None).rewards == "care"
    assert parse(rewards=None, task="memory_t1").rewards == "memory_t1"
    sft = {key: value for key, value in MINIMAL.items() if key != "rewards"} | {"method": "sft"}
    assert parse_config(sft).rewards is None


def test_a_config_cannot_be_changed() -> None:
    config = parse(train={"max_steps": 3})
    with pytest.raises(TypeError):
        config.train["max_steps"] = 4  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.method = "sft"  # type: ignore[misc]


def test_saved_form_reads_back_equal() -> None:
    config = parse(train={"max_steps": 3, "learning_rate": 1e-6}, prompt={"max_tokens": 9, "system": None})
    assert parse_config(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sorces": {}}, "sorces: no such key. Did you mean 'sources'?"),
        ({"method": "grop"}, "method: is 'grop', but must be one of sft, grpo. Did you mean 'grpo'?"),
        ({"task": "carre"}, "Did you mean 'care'?"),
        ({"train": {"max_step": 1}}, "train.max_step: TRL's GRPOConfig has no such field. Did you mean 'max_steps'?"),
        ({"train": {"loss_type": "dapoo"}}, "'dapoo', but must be one of bnpo, cispo, dapo,"),
        ({"train": {"loss_type": "dapoo"}}, "Did you mean 'dapo'?"),
        ({"train": {"lr_scheduler_type": "constnt"}}, "Did you mean 'constant'?"),
        ({"train": {"multi_objective_aggregation": "sum"}}, "one of normalize_then_sum, sum_then_normalize."),
        ({"model": {"lora": 1}}, "model.lora: TRL's ModelConfig has no such field."),
        ({"train": {"shuffle_dataset": True}}, "train.shuffle_dataset: True would break the planned order"),
        ({"train": {"reward_weights": [1]}}, "train.reward_weights: is set by rlkit; weights stand under rewards:"),
        ({"model": {}}, "model.model_name_or_path and scratch are neither given"),
        ({"scratch": {"hidden_size": 8}}, "model.model_name_or_path and scratch are both given"),
        ({"memory": {"topk": 3}}, "memory.topk: no such key. Did you mean 'top_k'?"),
        ({"method": "sft"}, "rewards: given, but method sft uses none"),
        ({"sources": {}}, "sources: none given"),
        ({"sources": {"s": {"path": "x"}}}, "sources.s: is {'path': 'x'}, but needs a format"),
        ({"sources": []}, "sources: is [], but must be a mapping"),
        ({"prompt": {"max_token": 5}}, "prompt.max_token: no such key. Did you mean 'max_tokens'?"),
        ({"prompt": {"max_tokens": 0}}, "prompt.max_tokens: is 0, but must be a positive number of tokens"),
        ({"prompt": {"max_tokens": True}}, "prompt.max_tokens: is True"),
        ({"prompt": {"system": 3}}, "prompt.system: is 3"),
        ({"train": {"max_steps": "2"}}, "train.max_steps: is '2', but must be a whole number."),
        ({"train": {"max_steps": True}}, "train.max_steps: is True, but must be a whole number."),
        ({"train": {"learning_rate": "abc"}}, "train.learning_rate: is 'abc', but must be a number."),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate: is nan, but must be a finite number."),
        ({"train": {"output_dir": 3}}, "train.output_dir: is 3, but must be text or null."),
        ({"train": {"max_steps": 10**30}}, "no run needs more than 1,000,000,000"),
        ({"model": {"model_name_or_path": ["a"]}}, "model.model_name_or_path: is ['a'], but must be text or null."),
        ({"samples_per_step": -1}, "samples_per_step: is -1"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**changes)
    assert message in str(caught.value)
    assert str(caught.value).startswith("config: ")


def test_yaml_reads_small_numbers_and_refuses_a_key_twice() -> None:
    assert read_yaml("a: 1e-6\nb: 1.0e-6\nc: 2E3\nd: e5\ne: 7", "f") == {
        "a": 1e-6,
        "b": 1e-6,
        "c": 2e3,
        "d": "e5",
        "e": 7,
    }
    with pytest.raises(ConfigError, match=r"f\.yaml:3: .*the key 'a' stands twice"):
        read_yaml("a: 1\nb: 2\na: 3", "f.yaml")
    with pytest.raises(ConfigError, match=r"f\.yaml:2: not readable as YAML"):
        read_yaml("a: 1\nb: [2", "f.yaml")


def test_yaml_runs_no_code() -> None:
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        read_yaml("a: !!python/object/apply:os.system ['true']", "f.yaml")


def test_overrides(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.yaml", "method: grpo\nscratch: {vocab_size: 300}\nsources: {s: {format: x}}\nrewards: care\n"
    )
    config = load_config(path, ["train.max_steps=5", "train.learning_rate=1e-5", "scratch.vocab_size=400"])
    assert config.setting("max_steps") == 5
    assert config.setting("learning_rate") == 1e-5
    assert config.to_dict()["scratch"] == {"vocab_size": 400}
    with pytest.raises(ConfigError, match="must be key=value with a dotted key"):
        load_config(path, ["train.max_steps"])
    with pytest.raises(ConfigError, match="method is 'grpo', which has no keys below it"):
        load_config(path, ["method.x=1"])


def test_missing_and_odd_files(tmp_path: Path) -> None:
    write(tmp_path / "grpo.yaml", "- 1\n")
    with pytest.raises(ConfigError, match=r"there is no such config file\. Did you mean 'grpo\.yaml'"):
        load_config(tmp_path / "gpro.yaml")
    with pytest.raises(ConfigError, match="holds list, but a config is a mapping"):
        load_config(tmp_path / "grpo.yaml")


def test_what_this_machine_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "zero2.json", "{}")
    config = parse(train={"deepspeed": "zero1.json", "use_vllm": True})
    ours = lacking(config)
    assert "there is no file 'zero1.json'" in ours[0]
    assert "Did you mean 'zero2.json'?" in ours[0]
    assert len(ours) == 1 + (importlib.util.find_spec("vllm") is None)
    with pytest.raises(ConfigError, match=r"there is no file 'zero1\.json'"):
        train(config)
    assert lacking(parse(train={"deepspeed": "zero2.json"})) == []


def test_differences_name_keys_and_values() -> None:
    old = parse(train={"seed": 1, "max_steps": 3, "output_dir": "a"})
    new = parse(train={"seed": 2, "output_dir": "b"}, prompt={"max_tokens": 7})
    assert differences(old, new) == [
        "prompt.max_tokens: None -> 7",
        "train.max_steps: 3 -> '(not set)'",
        "train.seed: 1 -> 2",
    ]
    assert differences(old, old) == []


@pytest.mark.parametrize("name", ["runs/sft/of/model", "./model", "/nowhere/model", "../model"])
def test_a_start_that_is_neither_a_folder_nor_a_hub_name(name: str) -> None:
    (problem,) = lacking(parse(model={"model_name_or_path": name}))
    assert f"{name!r} is no folder" in problem
    assert "OWNER/NAME" in problem


@pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen2.5-7B-Instruct"])
def test_hub_names_are_left_to_the_hub(name: str) -> None:
    assert lacking(parse(model={"model_name_or_path": name})) == []


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        ("run/model/config.json", "run", "is a run's folder; its model is in '"),
        ("run/adapter_config.json", "run", "is an adapter without its model; start from the model/ folder of the run"),
    ],
)
def test_folders_that_look_like_a_start(tmp_path: Path, file: str, name: str, message: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    (problem,) = lacking(parse(model={"model_name_or_path": str(tmp_path / name)}))
    assert message in problem
    assert lacking(parse(model={"model_name_or_path": str(path.parent)})) == [] or file.endswith("adapter_config.json")


def test_words_are_those_that_trl_and_transformers_know() -> None:
    from transformers.trainer_utils import SchedulerType
    from transformers.training_args import OptimizerNames

    assert set(declared_words("sft", "lr_scheduler_type")) == {one.value for one in SchedulerType}
    assert set(declared_words("grpo", "optim")) == {one.value for one in OptimizerNames}
    assert {"grpo", "dapo", "dr_grpo", "bnpo"} <= set(declared_words("grpo", "loss_type"))
    assert declared_words("grpo", "report_to") == declared_words("sft", "loss_type") == ()  # nothing says so
    taken = {"loss_type": "dr_grpo", "lr_scheduler_type": "cosine_with_min_lr", "scale_rewards": "none", "report_to": "x"}  # fmt: skip
    assert taken.items() <= parse(train=taken).train.items()
