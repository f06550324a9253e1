"""Base models are taught to look one thing up, on training contexts only, with the replies alone as labels."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, timedelta

import pytest
import torch

from rlkit.data.dialogues import TOLD
from rlkit.data.facts import split_of
from rlkit.data.synthetic import generate
from rlkit.prompts import prompt_of
from rlkit.quickstart import care, memory
from rlkit.quickstart.base_model import base_model, batches
from rlkit.quickstart.stages import WORLDS


@pytest.fixture
def one_thread():
    """Threads that wait for one another on a busy machine turn a second into minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_conversations_are_about_training_contexts_and_quote_them():
    rng = random.Random(3)
    for _ in range(200):
        first, *later = care.conversation(rng, facts=6)
        *sentences, asked = first["content"].split("\n\n")
        assert split_of(sentences) == "train"
        assert asked.startswith("Question: Which ")
        replies = [message["content"] for message in later if message["role"] == "assistant"]
        assert sorted(replies) == sorted(sentences)


def test_replies_about_a_memory_follow_from_its_words():
    rng = random.Random(4)
    asked_again, kinds = 0, {"place": 0, "later place": 0, "day": 0, "json": 0}
    for _ in range(200):
        talk = memory.conversation(rng, 4, memory.MIXED)
        places, days = {}, {}
        for line in talk[0]["content"].split("\n\n")[0].splitlines():
            when, speaker, rest = line.split(" ", 2)
            words, _, rest = rest.partition(" (")
            day = (date.fromisoformat(when) - timedelta(days=TOLD[words])).isoformat()
            name, _, place = rest.partition(") I visited ")
            places[day, speaker.rstrip(":")] = name, place.rstrip("."), words
            days[name] = day
        assert len(places) == len(days) == 4
        questions = [message["content"].rpartition("Question: ")[2] for message in talk[::2]]
        for question, reply in zip(questions, talk[1::2], strict=True):
            words = question.replace(",", "").split()
            if words[0] == "On":
                name, found, told = places[words[1], words[5]]
                kinds["place" if told == "Today" else "later place"] += 1
            else:
                name, found = words[3], days[words[3]]
                kinds["day"] += 1
            as_json = reply["content"].startswith("{")
            assert reply["content"] == memory.reply(name, found, as_json)
            kinds["json"] += as_json
        asked_again += len(questions) - len(set(questions))
    assert asked_again > 0, "what has been asked for must say nothing about what will be"
    assert 0 < kinds["later place"] < kinds["place"] / 2, "to resolve and to choose at once is left to later stages"
    assert kinds["day"] > 100
    assert 100 < kinds["json"] < 300, "of 1,600 replies"


@pytest.mark.parametrize("task", WORLDS)
def test_only_the_replies_are_labelled(task):
    tokenizer = WORLDS[task].tokenizer()
    tokens, labels = next(batches(WORLDS[task], tokenizer, seed=1, steps=8))
    assert tokenizer.unk_token_id not in tokens
    for row, wanted in zip(tokens, labels, strict=True):
        replies = tokenizer.decode(row).split("<|assistant|>")[1:]
        expected = " ".join(reply.split("<|user|>")[0].replace("<|pad|>", "").strip() for reply in replies)
        assert tokenizer.decode(wanted[wanted >= 0]) == expected
        assert (wanted[wanted >= 0] == row[wanted >= 0]).all()


@pytest.mark.parametrize("task", WORLDS)
def test_the_seed_decides_the_batches(task):
    world = WORLDS[task]
    tokenizer = world.tokenizer()
    first, again, other = (next(batches(world, tokenizer, seed, steps=8))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_contexts_grow_but_not_to_the_long_level():
    largest = [max(care.facts_at(step / 600)) for step in range(600)]
    assert largest == sorted(largest)
    assert largest[0] <= 4
    assert largest[-1] < min(len(record["context"]) for record in generate("long", 20))
    sizes = [max(counts) for counts, _ in memory.STAGES]
    assert sizes == sorted(sizes)
    assert sizes[-1] < min(len(record["sessions"]) for record in memory.generate("long", 20))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("task", WORLDS)
def test_the_folder_is_an_ordinary_model(tmp_path, task):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    losses = []
    base_model(WORLDS[task], tmp_path / "base", seed=0, steps=12, on_step=lambda step, loss: losses.append(loss))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert losses[-1] < losses[0] - 0.2
    messages = prompt_of(next(WORLDS[task].generate("easy", 1)), system=None)
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert model.generate(**prompt, max_new_tokens=2, do_sample=False).shape[1] == prompt["input_ids"].shape[1] + 2


@pytest.mark.usefixtures("one_thread")
def test_a_world_may_have_a_wider_model(tmp_path):
    from transformers import AutoConfig

    base_model(replace(care.WORLD, hidden_size=160), tmp_path, seed=0, steps=1)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.hidden_size, config.intermediate_size, config.num_attention_heads) == (160, 320, 5)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("width", [128, 256])
def test_matrices_start_smaller_and_move_slower_the_wider_a_model_is(tmp_path, monkeypatch, width):
    from safetensors.torch import load_file

    def weights(name):
        folder = base_model(replace(care.WORLD, hidden_size=width), tmp_path / name, seed=0, steps=1)
        return load_file(folder / "model.safetensors")

    moved = weights("moved")
    monkeypatch.setattr("rlkit.quickstart.base_model.LEARNING_RATE", 0.0)
    start = weights("start")
    first_step = 1e-3 / 100  # the warm-up's; Adam's first step is one rate long in every coordinate that has a gradient
    narrower = 128 / width
    for name, weight in start.items():
        if "embed_tokens" in name:
            spread, slower = 1.0, 1.0
        elif "lm_head" in name:
            spread, slower = narrower, narrower
        elif weight.dim() == 2:
            spread, slower = narrower**0.5, narrower
        else:
            spread, slower = None, 1.0
        assert (moved[name] - weight).abs().max().item() == pytest.approx(first_step * slower, rel=0.05), name
        if spread is not None:
            assert weight.std().item() == pytest.approx(0.02 * spread, rel=0.05), name
