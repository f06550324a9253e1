"""The harder world's base model is taught to answer with the plain sentence, whatever stands beside it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rlkit.ablation import world_model
from rlkit.ablation.reading import WORLDS as NAMES
from rlkit.ablation.worlds import WORLDS, hard_tokenizer
from rlkit.data.facts import IDLE, OTHERWISE, RUMOUR
from rlkit.data.synthetic import generate
from rlkit.errors import RunError
from rlkit.quickstart import stages
from rlkit.quickstart.world import World


def test_replies_quote_a_plain_sentence() -> None:
    seen = ""
    for talk in WORLDS["care_hard"].conversations(random.Random(1), 0.9):
        *sentences, _ = talk[0]["content"].split("\n\n")
        replies = [message["content"] for message in talk if message["role"] == "assistant"]
        assert set(replies) <= set(sentences)
        assert not [reply for reply in replies if reply.startswith(RUMOUR) or reply[:-1].split()[-1] in IDLE]
        assert sum(sentence.startswith(RUMOUR) for sentence in sentences) == 1
        assert sum(sentence[:-1].split()[-1] in IDLE for sentence in sentences) == 1
        seen += " ".join(replies)
    assert any(f" {word} " in seen for word in OTHERWISE.values())
    assert any(f" {word} " in seen for word in OTHERWISE)


def test_a_base_model_is_made_once_and_no_other_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rlkit ablate` may be killed after the model and before its note."""
    made = []

    def train(world: World, folder: Path, seed: int, steps: int) -> None:
        made.append(folder)
        (folder / "model.safetensors").write_text(f"{seed} {steps}")

    monkeypatch.setattr(stages, "train_base", train)
    command = ["--task", "care", "--seed", "1", "--out", str(tmp_path / "base")]
    for _ in range(2):
        assert world_model.main([*command, "--steps", "3"]) == 0
    assert len(made) == 1
    with pytest.raises(RunError, match=r"base: is there and was not made as asked for .*\"steps\": 4.*; remove it"):
        world_model.main([*command, "--steps", "4"])
    assert (tmp_path / "base" / "model.safetensors").read_text() == "1 3"


def test_the_names_that_a_file_may_give_are_those_of_the_worlds() -> None:
    assert sorted(NAMES) == sorted(WORLDS)


def test_every_word_of_its_rows_is_known() -> None:
    tokenizer = hard_tokenizer()
    rows = generate("hard", 50, hops=3, facts=8, paraphrased=0.5, rumours=2, noise=2, demonstrations=True)
    for row in rows:
        texts = [row["question"], row["completion"], *(passage["text"] for passage in row["context"])]
        assert tokenizer.unk_token_id not in tokenizer(" ".join(texts)).input_ids
