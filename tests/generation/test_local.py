"""A local model: what batching must not change, what ends an answer, what becomes of tags, prompts that do not fit."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlkit.errors import ConfigError
from rlkit.generation.local import Local
from rlkit.generation.weights import GenerationError

SHAPE = {"model_type": "qwen2", "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256}  # fmt: skip
TEXTS = ["Ada hired Leo in Lisbon.", "The dog of Ann is ill, and it rains in Paris."]


def ask(words: int) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": " ".join((TEXTS[0] + " " + TEXTS[1]).split()[: words % 13 + 1] * (words // 13 + 1))}
    ]


CONVERSATIONS = [ask(words) for words in (3, 30, 1, 12, 25, 7, 18)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rlkit.scratch import scratch_model

    return scratch_model(tmp_path_factory.mktemp("run") / "model", SHAPE, TEXTS, seed=1)


def local(folder: Path, **options: Any) -> Local:
    return Local(
        str(folder), **{"sampling": {"max_new_tokens": 8}, "device": "cpu", "continuous_batching": False, **options}
    )


def test_batches_answer_as_single_questions_do_in_order_and_say_so_at_once(folder: Path) -> None:
    alone = list(local(folder, batch_size=1).complete(CONVERSATIONS))
    told: dict[int, Any] = {}
    replies = list(local(folder, batch_size=3).complete(CONVERSATIONS, told.__setitem__))
    assert replies == alone
    assert [told[number] for number in range(len(CONVERSATIONS))] == replies
    assert len({reply.text for reply in replies}) > 3
    assert list(told) == sorted(told, key=lambda number: -replies[number].prompt_tokens)  # longest first


def test_the_reference_is_transformers_own_generate(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    for conversation, reply in zip(CONVERSATIONS, local(folder).complete(CONVERSATIONS), strict=True):
        ids = tokenizer.apply_chat_template(
            conversation, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            output = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert reply.text == tokenizer.decode(output, skip_special_tokens=True)
        assert reply.prompt_tokens == ids["input_ids"].shape[1]


def test_conversations_are_drawn_a_window_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlkit.generation.local.WINDOW_BATCHES", 2)
    drawn: list[int] = []

    def conversations() -> Iterator[list[dict[str, str]]]:
        for number in range(12):
            drawn.append(number)
            yield ask(number)

    replies = local(folder, batch_size=2).complete(conversations())
    next(replies)
    assert len(drawn) == 4
    assert len(list(replies)) == 11


def test_nothing_to_answer_loads_nothing() -> None:
    assert list(Local("no/where").complete([])) == []
    assert list(Local("/not/there").complete([])) == []


@pytest.fixture(scope="module")
def speaking(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Local:
    """A model whose tags are special tokens, and whose settings name another end than its tokenizer."""
    from transformers import AutoTokenizer

    copy = tmp_path_factory.mktemp("tags") / "model"
    shutil.copytree(folder, copy)
    tokenizer: Any = AutoTokenizer.from_pretrained(copy)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<think>", "</think>", "<retrieval>", "</retrieval>"]})
    tokenizer.save_pretrained(copy)
    settings = json.loads((copy / "generation_config.json").read_text())
    settings |= {
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "temperature": 0.6,
        "do_sample": True,
    }
    (copy / "generation_config.json").write_text(json.dumps(settings))
    return local(copy)


def test_tags_survive_as_special_tokens_and_chat_markup_does_not(speaking: Local) -> None:
    tokenizer = speaking.tokenizer
    ids = tokenizer("<think><retrieval>Ada hired Leo.</retrieval></think> Answer: Leo<|im_end|><|endoftext|>")[
        "input_ids"
    ]
    reply = speaking._reply(5, ids, speaking._model().generation_config.eos_token_id)
    assert reply.text == "<think><retrieval>Ada hired Leo.</retrieval></think> Answer: Leo"
    assert (reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == ("stop", 5, len(ids) - 1)


def test_an_answer_ends_with_the_settings_token_or_the_tokenizers_and_nothing_else_is_taken_from_the_settings(
    speaking: Local,
) -> None:
    config = speaking._model().generation_config
    tokenizer = speaking.tokenizer
    ends = {tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")}
    assert set(config.eos_token_id) == ends
    assert config.do_sample is False
    assert config.temperature is None
    for end in ends:
        assert speaking._reply(1, [9, end, 9], list(ends)).completion_tokens == 2
    assert speaking._reply(1, [9, 9], list(ends)).finish_reason == "length"


def test_a_prompt_over_the_window_is_refused_with_its_number(folder: Path) -> None:
    model = local(folder, sampling={"max_new_tokens": 200})
    with pytest.raises(
        GenerationError, match=r"a prompt has \d+ tokens and its answer up to 200, but the model reads 256"
    ) as caught:
        list(model.complete([ask(1), ask(60)]))
    assert caught.value.number == 1


def test_sampling_repeats_with_a_seed_and_varies_without(folder: Path) -> None:
    sampled = {"max_new_tokens": 8, "temperature": 1.0}
    one, two = (
        [r.text for r in local(folder, sampling={**sampled, "seed": 3}).complete([ask(5)] * 4)] for _ in range(2)
    )
    assert one == two
    assert len(set(one)) > 1
    assert one != [r.text for r in local(folder, sampling={**sampled, "seed": 4}).complete([ask(5)] * 4)]


def test_the_identity_is_that_of_content_and_settings_wherever_the_folder_lies(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    same = local(copy)
    assert same.identity == local(folder).identity
    assert local(folder, batch_size=2).identity == same.identity  # a batch's size changes no answer
    assert local(folder, sampling={"max_new_tokens": 9}).identity != same.identity
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert same.identity != local(folder).identity


def test_it_travels_without_its_weights(folder: Path) -> None:
    model = local(folder)
    model.window_tokens, model.tokenizer  # noqa: B018
    assert len(pickle.dumps(model)) < 1000
    assert pickle.loads(pickle.dumps(model)) == model


def test_a_run_and_an_adapter_are_models_too(folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = list(local(folder).complete([ask(5)]))
    assert list(local(folder.parent).complete([ask(5)])) == base  # the run's folder
    model: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder),
        LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    )
    model.save_pretrained(tmp_path / "adapter")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "adapter")
    adapted = local(tmp_path / "adapter")
    assert adapted.window_tokens == 256
    assert list(adapted.complete([ask(5)])) != base


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: is 0, but must be a whole number"),
        ({"sampling": {"max_new_tokens": True}}, "sampling.max_new_tokens: is True"),
        ({"sampling": {"eos_token_id": 3}}, "sampling.eos_token_id: is set by rlkit"),
        ({"sampling": {"temprature": 1}}, "sampling.temprature: .* Did you mean 'temperature'"),
        ({"sampling": {"early_stopping": "x"}}, "sampling: .*refuses.*early_stopping"),
    ],
)
def test_wrong_settings_are_named_before_any_weights(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list(local(folder, **options).complete([ask(1)]))


def test_what_is_no_model_is_named(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "care").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"Did you mean 'care'"):
        list(local(tmp_path / "runs" / "caer").complete([ask(1)]))
    (tmp_path / "runs" / "care" / "config.yaml").write_text("method: grpo\n")
    monkeypatch.chdir(tmp_path / "runs")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # nobody waits for the hub
    with pytest.raises(ConfigError, match=r"There is no such folder here either\. Did you mean 'care'"):
        _ = Local("caer").tokenizer  # a name without a folder may be one of the hub
    with pytest.raises(ConfigError, match="its training has not ended"):
        list(local(tmp_path / "runs" / "care").complete([ask(1)]))
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="has no chat template"):
        list(local(bare).complete([ask(1)]))


def test_continuous_batching_answers_the_same(folder: Path) -> None:
    alone = list(local(folder).complete(CONVERSATIONS))
    told: dict[int, Any] = {}
    assert (
        list(local(folder, continuous_batching=True, batch_size=1).complete(CONVERSATIONS, told.__setitem__)) == alone
    )
    assert [told[number] for number in range(len(alone))] == alone
