"""The harder world's base model is taught to answer with the plain sentence, whatever stands beside it."""

from __future__ import annotations

import random

from rlkit.ablation.worlds import WORLDS, hard_tokenizer
from rlkit.data.facts import IDLE, OTHERWISE, RUMOUR
from rlkit.data.synthetic import generate


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


def test_every_word_of_its_rows_is_known() -> None:
    tokenizer = hard_tokenizer()
    rows = generate("hard", 50, hops=3, facts=8, paraphrased=0.5, rumours=2, noise=2, demonstrations=True)
    for row in rows:
        texts = [row["question"], row["completion"], *(passage["text"] for passage in row["context"])]
        assert tokenizer.unk_token_id not in tokenizer(" ".join(texts)).input_ids
