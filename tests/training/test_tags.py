"""Tags as tokens: sensible rows to start from, trained and saved with and without LoRA, equal after a reload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlkit.config import load_config, parse_config
from rlkit.errors import ConfigError
from rlkit.train import train
from rlkit.training.tags import TAGS, add_tags, tagged_model
from tests.training.layouts import demonstrations, llama3, quickstart, qwen2, tiny_model, write_config

LORA = {"use_peft": True, "lora_r": 4, "lora_target_modules": "all-linear"}


def rows_of(folder: Path, table: str = "input") -> Any:
    """The embedding rows of the tags in a saved model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(list(TAGS))
    return getattr(model, f"get_{table}_embeddings")().weight[tokens].detach()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("spare", [0, 9])
def test_new_rows_are_the_means_of_what_spelled_the_tag(tmp_path: Path, tied: bool, spare: int) -> None:
    from transformers import AutoModelForCausalLM

    old = qwen2()
    size = len(old)
    start = tiny_model(tmp_path / "start", old, tie_word_embeddings=tied, vocab_size=size + spare)
    spelled = [old(tag)["input_ids"] for tag in TAGS]
    before: Any = AutoModelForCausalLM.from_pretrained(start)
    new = qwen2()
    folder = tagged_model(str(start), new, tmp_path / "tagged", {})
    after: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert after.config.vocab_size == after.get_input_embeddings().weight.shape[0] == max(size + 4, size + spare)
    assert new.convert_tokens_to_ids(list(TAGS)) == [size, size + 1, size + 2, size + 3]
    for name in ("get_input_embeddings", "get_output_embeddings"):
        was, now = getattr(before, name)().weight, getattr(after, name)().weight
        assert now[:size].equal(was[:size])
        for number, parts in enumerate(spelled):
            assert now[size + number].equal(was[parts].mean(dim=0))
    tied_now = after.get_input_embeddings().weight is after.get_output_embeddings().weight
    assert tied_now == tied


def test_tags_that_are_tokens_stay_as_they_are() -> None:
    tokenizer = quickstart()
    size = len(tokenizer)
    assert add_tags(tokenizer) == {}
    assert len(tokenizer) == size


@pytest.mark.parametrize("make", [qwen2, llama3])
def test_an_added_tag_is_one_token_that_decoding_keeps(make: Any) -> None:
    tokenizer = make()
    add_tags(tokenizer)
    text = "<think>a <retrieval>b</retrieval></think> Answer: b"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert all(ids.count(tokenizer.convert_tokens_to_ids(tag)) == 1 for tag in TAGS)
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("lora", [False, True])
def test_tag_rows_are_trained_and_saved(tmp_path: Path, lora: bool, tied: bool, monkeypatch: Any) -> None:
    """The saved model is the one that was trained: equal logits after a reload; the tags' rows have moved."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rlkit.training import common

    trained = []
    finish = common.finish
    monkeypatch.setattr(common, "finish", lambda trainer, *others: (finish(trainer, *others), trained.append(trainer)))
    tiny_model(tmp_path / "start", qwen2(), tie_word_embeddings=tied)
    settings = {
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
    }
    path = write_config(tmp_path, demonstrations(12), model=LORA if lora else {}, train=settings, tag_tokens=True)
    run = train(load_config(path))

    for table in ("input", "output"):
        moved = (rows_of(run.model, table) - rows_of(run.start_model, table)).abs().amax(dim=1)
        assert moved.min() > 1e-4, table
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    text = tokenizer("<think>It is <retrieval>so</retrieval></think> Answer: so", return_tensors="pt")
    saved = AutoModelForCausalLM.from_pretrained(run.model).eval()
    with torch.no_grad():
        assert torch.allclose(saved(**text).logits, trained[0].model.eval()(**text).logits, atol=1e-5)
    assert all(len(tokenizer(tag, add_special_tokens=False)["input_ids"]) == 1 for tag in TAGS)
    assert (run.folder / "adapter").exists() == lora
    if lora:
        whole = AutoModelForCausalLM.from_pretrained(run.start_model)
        other = [name for name, weight in whole.named_parameters() if name.endswith("embed_tokens.weight")]
        size = len(tokenizer) - 4
        assert saved.get_parameter(other[0])[:size].equal(whole.get_parameter(other[0])[:size])  # only the tags' rows

    # the next stage starts from it in one line
    values = {"use_cpu": True, "bf16": False, "max_steps": 1, "per_device_train_batch_size": 4, "num_generations": 4,
              "max_completion_length": 4, "gradient_checkpointing": False, "save_strategy": "no"}  # fmt: skip
    grpo = write_config(tmp_path, demonstrations(4), "grpo", model={"model_name_or_path": str(run.model)}, train=values)
    after = train(load_config(grpo, [f"train.output_dir={tmp_path / 'grpo'}"]))
    assert json.loads(after.done.read_text())["steps"] == 1
    again = AutoTokenizer.from_pretrained(after.model)
    assert again.convert_tokens_to_ids(list(TAGS)) == tokenizer.convert_tokens_to_ids(list(TAGS))


def test_a_scratch_model_has_the_tags(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from rlkit.runs import Run
    from rlkit.sources import load_sources
    from rlkit.training.common import start_model

    values = json.loads(json.dumps({"method": "sft", "scratch": {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 300}, "tag_tokens": True, "sources": {"s": {"format": "synthetic", "level": "easy", "rows": 4, "demonstrations": True}}}))  # fmt: skip
    config = parse_config(values)
    folder = start_model(config, Run(tmp_path / "run"), load_sources(config))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert all(len(tokenizer(tag, add_special_tokens=False)["input_ids"]) == 1 for tag in TAGS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tag_tokens": "yes"}, "tag_tokens: is 'yes', but must be true or false"),
        ({"tag_tokens": True, "task": "memory_t1"}, "the output of task memory_t1 is JSON and has no tags"),
    ],
)
def test_tag_tokens_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(
            {"method": "sft", "model": {"model_name_or_path": "m"}, "sources": {"s": {"format": "records"}}, **values}
        )
