"""The tokenizer knows the whole world, and what it decodes can be compared word for word with the passages."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewards import Sample, presets
from rlkit.data.synthetic import LEVELS, generate
from rlkit.prompts import chat_prompt
from rlkit.quickstart.base_model import world_tokenizer
from rlkit.quickstart.tokenizer import END, TAGS


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    from transformers import AutoTokenizer

    folder: Path = tmp_path_factory.mktemp("tokenizer")
    world_tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("level", LEVELS)
def test_no_word_of_the_world_is_unknown(tokenizer, level):
    for record in generate(level, 300, 4, split="test", demonstrations=True):
        prompt = tokenizer.apply_chat_template(chat_prompt(record, system=None), tokenize=False)
        assert tokenizer.unk_token_id not in tokenizer(prompt + record["completion"]).input_ids


def test_a_decoded_demonstration_still_earns_the_maximum(tokenizer):
    for record in generate("hard", 50, 4, demonstrations=True):
        decoded = tokenizer.decode(tokenizer(record["completion"] + END).input_ids, skip_special_tokens=True)
        score = presets.care()(Sample.from_record(record, completion=decoded))
        assert score.total == pytest.approx(score.maximum)
        assert tokenizer(decoded).input_ids == tokenizer(record["completion"]).input_ids


def test_tags_are_single_tokens_that_survive_decoding(tokenizer):
    for tag in TAGS:
        (token,) = tokenizer(tag).input_ids
        assert tokenizer.decode([token], skip_special_tokens=True) == tag
    assert tokenizer.decode(tokenizer("Ada" + END).input_ids, skip_special_tokens=True) == "Ada"


def test_a_prompt_with_its_reply_begins_with_the_prompt(tokenizer):
    record = next(generate("easy", 1, demonstrations=True))
    messages = chat_prompt(record, system=None)
    prompt = tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=True)
    reply = {"role": "assistant", "content": record["completion"]}
    whole = tokenizer.apply_chat_template([*messages, reply], tokenize=True, return_dict=True)
    assert whole["input_ids"][: len(prompt["input_ids"])] == prompt["input_ids"]
    assert whole["input_ids"][-1] == tokenizer.eos_token_id
