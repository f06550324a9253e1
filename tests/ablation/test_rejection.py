"""The control that gives SFT what GRPO had: the same prompts, as many answers, the same judge, and the best right one kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlkit.ablation import rejection
from rlkit.config import load_config
from rlkit.errors import ConfigError
from rlkit.generation.local import Local
from rlkit.generation.model import Reply
from rlkit.quickstart.tokenizer import word_tokenizer
from rlkit.sources import in_order, load_sources, plan_rows
from rlkit.training import support

GROUP, PROMPTS = 4, 6
WRONG, BARE = "<think>I guess.</think> Answer: nobody", "<think>I guess.</think> Answer: gold{0}"
QUOTED = "<think><retrieval>It is gold{0} here.</retrieval></think> Answer: gold{0}"
QUOTED_WRONG = "<think><retrieval>It is gold{0} here.</retrieval></think> Answer: nobody"
SAID = {  # by the row's number
    0: [WRONG, BARE, QUOTED, BARE],
    1: [QUOTED_WRONG, WRONG, WRONG, WRONG],
    2: [WRONG, WRONG, WRONG, BARE],
    3: [QUOTED, QUOTED, QUOTED, QUOTED],
}
REWARDS = {
    "accuracy": {"use": "exact_match", "weight": 0.7},
    "format": {"use": "care_format", "weight": 0.1},
    "grounding": {"use": "quotes_in_context", "weight": 0.2},
}


@dataclass(frozen=True)
class Scripted:
    """Says of each question what stands in `SAID`, in turn, and remembers how it was asked."""

    model_name_or_path: str
    sampling: dict[str, Any]
    batch_size: int = 1

    @property
    def tokenizer(self):
        return word_tokenizer(["Read the passages and answer the question."])

    def complete(self, conversations):
        for number, conversation in enumerate(conversations):
            words = "\n".join(message["content"] for message in conversation)
            ASKED.append((self.sampling, words))
            row = int(re.search(r"Question: q(\d+)\?", words)[1])
            yield Reply(SAID[row][number % GROUP].format(row), "stop", 1, 1)


ASKED: list[tuple[dict[str, Any], str]] = []


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A GRPO config of three steps of two prompts, over four rows, and a scripted model in the place of a real one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rejection, "Local", Scripted)
    ASKED.clear()
    rows = [{"id": f"r{n}", "question": f"q{n}?", "context": [f"It is gold{n} here."], "golds": [f"gold{n}"]} for n in range(4)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    batch = {"max_steps": 3, "per_device_train_batch_size": 2 * GROUP, "num_generations": GROUP}
    values = {
        "method": "grpo",
        "task": "care",
        "model": {"model_name_or_path": "models/none"},
        "sources": {"rows": {"format": "records", "path": "rows.jsonl"}},
        "rewards": REWARDS,
        "train": {**batch, "max_completion_length": 17, "temperature": 0.9, "seed": 5},
    }
    (tmp_path / "grpo.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return tmp_path


def kept(out="out"):
    return [json.loads(line) for line in Path(out, "kept.jsonl").read_text(encoding="utf-8").splitlines()]


def run(*words, out="out"):
    assert rejection.main(["grpo.yaml", *words, "--out", out]) == 0
    return kept(out)


def prompted():
    """Which rows were asked, in order, each group once."""
    rows = [int(re.search(r"Question: q(\d+)\?", words)[1]) for _, words in ASKED]
    groups = [rows[at : at + GROUP] for at in range(0, len(rows), GROUP)]
    assert all(len(set(group)) == 1 for group in groups)
    return [group[0] for group in groups]


def planned(*changes):
    config = load_config("grpo.yaml", changes)
    sources = load_sources(config)
    return [int(row["id"].strip("r")) for row in in_order(config, sources, *plan_rows(config, sources, 1)).rows]


def test_of_the_right_answers_the_best_is_kept_and_a_prompt_without_one_gives_no_row(config):
    said = {row["golds"][0]: row["completion"] for row in run()}
    assert said == {"gold0": QUOTED.format(0), "gold2": BARE.format(2), "gold3": QUOTED.format(3)}


def test_the_prompts_are_those_of_the_training_in_its_order_with_as_many_answers(config):
    run()
    assert prompted() == planned()
    assert len(ASKED) == PROMPTS * GROUP
    asked = prompted()
    ASKED.clear()
    run("train.seed=6")
    assert prompted() == planned("train.seed=6") != asked


def test_answers_are_drawn_as_the_training_draws_them(config):
    run()
    drawn = {"max_new_tokens": 17, "do_sample": True, "temperature": 0.9}
    for sampling, _ in ASKED:
        told = {key: value for key, value in sampling.items() if key != "seed"}
        assert told == {**drawn, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
    ASKED.clear()
    run("train.top_p=0.5", "train.top_k=7", "train.min_p=0.1", "train.repetition_penalty=1.1")
    for sampling, _ in ASKED:
        told = {key: value for key, value in sampling.items() if key != "seed"}
        assert told == {**drawn, "top_k": 7, "top_p": 0.5, "min_p": 0.1, "repetition_penalty": 1.1}


def test_a_prompt_that_training_leaves_out_is_left_out(config):
    long = {"id": "r9", "question": "q1?", "context": [f"It is gold1 here{' and there' * 400}."], "golds": ["gold1"], "evidence": []}  # fmt: skip
    with (config / "rows.jsonl").open("a") as rows:
        rows.write(json.dumps(long) + "\n")
    run("train.max_steps=8")
    assert len([words for _, words in ASKED if "and there" in words]) >= GROUP
    ASKED.clear()
    run("train.max_steps=8", "prompt.max_tokens=300")
    assert not [words for _, words in ASKED if "and there" in words]
    assert len(ASKED) == 8 * 2 * GROUP


def test_a_part_that_asks_the_start_model_asks_the_one_that_answers(config, monkeypatch):
    asked = []
    monkeypatch.setattr(support, "likelihood_of", lambda part: asked.append(part.model) or (lambda questions: [0.5] * len(questions)))  # fmt: skip
    run("rewards.grounding.use=rlkit.training.support:quote_support", "model.model_name_or_path=models/start")
    assert set(asked) == {"models/start"}


def test_a_report_counts_what_was_asked_and_what_was_right(config):
    rows = run()
    times = Counter(planned())
    right = sum(times[row] * sum("gold" in text.partition("Answer:")[2] for text in SAID[row]) for row in SAID)
    report = json.loads((config / "out" / "report.json").read_text())
    assert report == {"prompts": PROMPTS, "answers": PROMPTS * GROUP, "right": right, "kept": len(rows)}
    assert len(rows) == PROMPTS - times[1]


def test_kept_rows_are_demonstrations_that_sft_takes(config):
    """A prompt that came twice gives two rows, each with an id of its own."""
    rows = run()
    assert len({row["id"] for row in rows}) == len(rows) > 3
    values = {
        "method": "sft",
        "model": {"model_name_or_path": "models/none"},
        "sources": {"kept": {"format": "records", "path": "out/kept.jsonl"}},
        "train": {"max_steps": 1, "per_device_train_batch_size": 1},
    }
    (config / "sft.yaml").write_text(yaml.safe_dump(values))
    loaded = load_sources(load_config("sft.yaml")).loaded["kept"]
    assert [record["completion"] for record in loaded.records()] == [row["completion"] for row in rows]


def test_each_part_of_the_prompts_has_a_seed_of_its_own(config, monkeypatch):
    """Else a prompt that comes again, as the fifth does, would get the answers that it had got."""
    monkeypatch.setattr(rejection, "PROMPTS_AT_A_TIME", 1)
    in_parts = run()
    seeds = [sampling["seed"] for sampling, _ in ASKED]
    groups = [seeds[at : at + GROUP] for at in range(0, len(seeds), GROUP)]
    assert all(len(set(group)) == 1 for group in groups)
    assert len(set(seeds)) == PROMPTS
    ASKED.clear()
    run(f"train.seed={5 + GROUP}")
    assert not {sampling["seed"] for sampling, _ in ASKED} & set(seeds)
    monkeypatch.setattr(rejection, "PROMPTS_AT_A_TIME", 4)
    assert run() == in_parts  # here the script decides alone, so that parts change nothing


def test_started_again_it_writes_the_same(config):
    first = run()
    files = {path.name: path.read_bytes() for path in (config / "out").iterdir()}
    assert run() == first
    assert {path.name: path.read_bytes() for path in (config / "out").iterdir()} == files


def test_no_right_answer_is_an_error_that_writes_nothing(config, monkeypatch):
    for row in SAID:
        monkeypatch.setitem(SAID, row, [QUOTED_WRONG] * GROUP)
    with pytest.raises(ConfigError, match=r"grpo.yaml: none of 24 answers was right"):
        rejection.main(["grpo.yaml", "--out", "out"])
    assert not (config / "out").exists()


def test_a_reward_that_does_not_say_what_is_right_is_refused(config):
    rewards = {("answer" if name == "accuracy" else name): part for name, part in REWARDS.items()}
    with pytest.raises(ConfigError, match="has no part 'accuracy'"):
        rejection.main(["grpo.yaml", f"rewards={json.dumps(rewards)}", "--out", "out"])
    assert ASKED == []


def test_a_real_model_answers_equal_prompts_differently_and_again_the_same(tmp_path):
    from rlkit.scratch import scratch_model

    shape = {"model_type": "qwen2", "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip
    folder = scratch_model(tmp_path / "model", shape, ["Ada hired Leo in Lisbon."], seed=1)
    sampling = {"max_new_tokens": 6, "do_sample": True, "temperature": 1.0, "top_k": 0, "seed": 3}
    model = Local(str(folder), sampling, batch_size=4, device="cpu", continuous_batching=False)
    asked = [[{"role": "user", "content": "Ada hired Leo"}]] * 8

    def texts(start):
        return [reply.text for reply in rejection._numbered(model, start).complete(asked)]

    first = texts(0)
    assert len(set(first)) == 8
    assert texts(0) == first
    assert not set(texts(8)) & set(first)
