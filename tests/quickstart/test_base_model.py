"""The base model is taught to quote one fact a question, on training contexts only."""

from __future__ import annotations

import random

import pytest
import torch

from rlkit.data.synthetic import generate, split_of
from rlkit.prompts import chat_prompt
from rlkit.quickstart.base_model import base_model, batches, conversation, facts_at, world_tokenizer


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
        first, *later = conversation(rng, facts=6)
        *sentences, asked = first["content"].split("\n\n")
        assert split_of(sentences) == "train"
        assert asked.startswith("Question: Which ")
        replies = [message["content"] for message in later if message["role"] == "assistant"]
        assert sorted(replies) == sorted(sentences)


def test_only_the_replies_are_labelled():
    tokenizer = world_tokenizer()
    tokens, labels = next(batches(tokenizer, seed=1, steps=8))
    for row, wanted in zip(tokens, labels, strict=True):
        replies = tokenizer.decode(row).split("<|assistant|>")[1:]
        expected = " ".join(reply.split("<|user|>")[0].replace("<|pad|>", "").strip() for reply in replies)
        assert tokenizer.decode(wanted[wanted >= 0]) == expected
        assert (wanted[wanted >= 0] == row[wanted >= 0]).all()


def test_the_seed_decides_the_batches():
    tokenizer = world_tokenizer()
    first, again, other = (next(batches(tokenizer, seed, steps=8))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_contexts_grow_but_not_to_the_long_level():
    largest = [max(facts_at(step, 600)) for step in range(600)]
    assert largest == sorted(largest)
    assert largest[0] <= 4
    assert largest[-1] < min(len(record["context"]) for record in generate("long", 20))


@pytest.mark.usefixtures("one_thread")
def test_the_folder_is_an_ordinary_model(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    losses = []
    base_model(tmp_path / "base", seed=0, steps=12, on_step=lambda step, loss: losses.append(loss))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert losses[-1] < losses[0] - 0.2
    messages = chat_prompt(next(generate("easy", 1)), system=None)
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert model.generate(**prompt, max_new_tokens=2, do_sample=False).shape[1] == prompt["input_ids"].shape[1] + 2
