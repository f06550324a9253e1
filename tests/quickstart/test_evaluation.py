"""The quickstart asks held-out records with the prompts that training uses, and takes what the model says as it is."""

from __future__ import annotations

from pathlib import Path

from rlkit.data import dialogues, synthetic
from rlkit.generation.local import Local
from rlkit.generation.model import Reply
from rlkit.prompts import prompt_of
from rlkit.quickstart.evaluation import complete


def test_held_out_records_are_asked_as_in_training_and_answered_in_their_order(monkeypatch):
    asked, done = [], []

    def answer(model, conversations, on_reply):
        for number, conversation in enumerate(conversations):
            asked.append((model.model_name_or_path, dict(model.sampling), conversation))
            on_reply(number, reply := Reply(f"said {number}", "stop", 1, 1))
            yield reply

    monkeypatch.setattr(Local, "complete", answer)
    records = [*synthetic.generate("easy", rows=2, seed=1), *dialogues.generate("easy", rows=2, seed=1)]
    assert complete(Path("tiny"), records, 7, done.append) == ["said 0", "said 1", "said 2", "said 3"]
    assert asked == [("tiny", {"max_new_tokens": 7}, prompt_of(record, system=None)) for record in records]
    assert done == [1] * 4
