"""The tokenizers know their whole world, and what they decode can be judged like any other text."""

from __future__ import annotations

import pytest

from rewards import Sample, presets
from rlkit.prompts import prompt_of
from rlkit.quickstart import memory
from rlkit.quickstart.stages import WORLDS
from rlkit.quickstart.tokenizer import END, TAGS

LEVELS = [(task, level) for task, world in WORLDS.items() for level in world.levels]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizers")
    for task, world in WORLDS.items():
        world.tokenizer().save_pretrained(folder / task)
    return {task: AutoTokenizer.from_pretrained(folder / task) for task in WORLDS}


@pytest.mark.parametrize(("task", "level"), LEVELS)
def test_no_word_of_the_world_is_unknown(tokenizers, task, level):
    tokenizer = tokenizers[task]
    for record in WORLDS[task].generate(level, 300, 4, split="test", demonstrations=True):
        prompt = tokenizer.apply_chat_template(prompt_of(record, system=None), tokenize=False)
        assert tokenizer.unk_token_id not in tokenizer(prompt + record["completion"]).input_ids


@pytest.mark.parametrize("task", WORLDS)
def test_a_decoded_demonstration_still_earns_the_same(tokenizers, task):
    tokenizer, reward = tokenizers[task], presets.PRESETS[task]()
    for record in WORLDS[task].generate("hard", 50, 4, demonstrations=True):
        decoded = tokenizer.decode(tokenizer(record["completion"] + END).input_ids, skip_special_tokens=True)
        score = reward(Sample.from_record(record, completion=decoded))
        assert score.total == reward(Sample.from_record(record)).total > 0.9
        assert tokenizer(decoded).input_ids == tokenizer(record["completion"]).input_ids


def test_tags_are_single_tokens_that_survive_decoding(tokenizers):
    tokenizer = tokenizers["care"]
    for tag in TAGS:
        (token,) = tokenizer(tag).input_ids
        assert tokenizer.decode([token], skip_special_tokens=True) == tag
    assert tokenizer.decode(tokenizer("Ada" + END).input_ids, skip_special_tokens=True) == "Ada"


def test_json_survives_decoding_and_has_the_layout_of_the_base_model_s_reply(tokenizers):
    tokenizer = tokenizers["memory_t1"]
    record = next(WORLDS["memory_t1"].generate("hard", 1, 4, demonstrations=True))
    tokens = tokenizer(record["completion"]).input_ids
    assert tokenizer.decode(tokens, skip_special_tokens=True) == record["completion"]
    words = tokenizer.convert_ids_to_tokens(tokens)
    assert words[1::2] == [record["evidence"][0], record["golds"][0]]
    reply = tokenizer.tokenize(f"See {record['evidence'][0]}: was {record['golds'][0]}.")
    assert reply[1::2] == words[1::2]


def test_a_session_fits_the_convolution(tokenizers):
    record = next(WORLDS["memory_t1"].generate("hard", 1, 4))
    line = prompt_of(record, system=None)[0]["content"].splitlines()[0]
    assert len(tokenizers["memory_t1"].tokenize(line)) == memory.WORLD.convolution_words


@pytest.mark.parametrize("task", WORLDS)
def test_a_prompt_with_its_reply_begins_with_the_prompt(tokenizers, task):
    tokenizer = tokenizers[task]
    record = next(WORLDS[task].generate("easy", 1, demonstrations=True))
    messages = prompt_of(record, system=None)
    prompt = tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=True)
    reply = {"role": "assistant", "content": record["completion"]}
    whole = tokenizer.apply_chat_template([*messages, reply], tokenize=True, return_dict=True)
    assert whole["input_ids"][: len(prompt["input_ids"])] == prompt["input_ids"]
    assert whole["input_ids"][-1] == tokenizer.eos_token_id
