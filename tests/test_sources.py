"""From sources to rows in planned order: the seed of the data, prompts of the rows' own, lengths in the right tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlkit.config import Config, parse_config
from rlkit.data.synthetic import generate
from rlkit.fitting import fitted
from rlkit.prompts import prompt_of
from rlkit.scratch import bpe_tokenizer
from rlkit.sources import in_order, load_sources, plan_rows


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rlkit.data.cache.default_folder", lambda: tmp_path / "cache")


def config(prompt: dict[str, Any] | None = None, **train: Any) -> Config:
    sources = {
        "simple": {"format": "synthetic", "level": "easy", "rows": 12, "seed": 3},
        "hard": {"format": "synthetic", "level": "hard", "rows": 9, "seed": 3},
    }
    return parse_config(
        {
            "method": "grpo",
            "model": {"model_name_or_path": "m"},
            "sources": sources,
            "curriculum": {"kind": "constant", "shares": {"simple": 1, "hard": 1}},
            "prompt": {"system": None, **(prompt or {})},
            "train": {"max_steps": 6, "num_generations": 4, "seed": 7, **train},
        }
    )


def test_rows_come_in_planned_order_under_their_sources_names() -> None:
    ours = config()
    sources = load_sources(ours)
    plan, sums = plan_rows(ours, sources, 1)
    rows = in_order(ours, sources, plan, sums).rows
    levels = {"simple": "easy", "hard": "hard"}
    for draw, row in zip(plan, rows, strict=True):
        assert row["source"] == draw.source
        assert row["id"] == f"synthetic-train-{levels[draw.source]}-3-{draw.index}"


def test_the_order_follows_the_datas_own_seed_where_there_is_one() -> None:
    sources = load_sources(config())
    orders = [
        plan_rows(config(**seeds), sources, 1)[0].fingerprint() for seeds in ({}, {"data_seed": 8}, {"data_seed": 7})
    ]
    assert orders[0] == orders[2] != orders[1]


def test_a_rows_own_prompt_is_used_as_it_is() -> None:
    row = {**next(generate("easy", rows=1)), "prompt": [{"role": "user", "content": "Mine."}]}
    Path("rows.jsonl").write_text(json.dumps(row) + "\n")
    values = config().to_dict() | {"sources": {"own": {"format": "records", "path": "rows.jsonl"}}, "curriculum": None}
    ours = parse_config(values)
    sources = load_sources(ours)
    planned = in_order(ours, sources, *plan_rows(ours, sources, 1))
    assert planned.with_prompt(planned.rows[:1])["prompt"] == [[{"role": "user", "content": "Mine."}]]
    assert prompt_of(row, None) == row["prompt"]


def test_lengths_are_those_of_the_models_own_tokenizer() -> None:
    """The whole prompt counts, chat template and all, and another tokenizer's lengths are never taken from the cache."""
    texts = [message["content"] for row in generate("hard", rows=40) for message in prompt_of(row, None)]
    coarse, fine = bpe_tokenizer(texts, 600), bpe_tokenizer(texts, 300)
    sources = load_sources(config())

    def lengths(tokenizer: Any) -> list[int]:
        return [
            len(tokenizer.apply_chat_template(prompt_of(record, None), add_generation_prompt=True, return_dict=True)["input_ids"])
            for _, record in sources.records()
        ]  # fmt: skip

    limit = max(lengths(coarse)) + 2  # joints between texts may take a token more
    ours = config({"max_tokens": limit})
    assert fitted(ours, sources, coarse).sizes() == sources.sizes()
    shorter = fitted(ours, sources, fine)
    kept = [record for _, record in shorter.records()]
    dropped = sum(len(record["context"]) for record in kept) < sum(len(r["context"]) for _, r in sources.records())
    assert dropped or sum(shorter.sizes().values()) < 21
    for record in kept:
        messages = prompt_of(record, None)
        assert (
            len(fine.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]) <= limit
        )
        assert all(fact in " ".join(p["text"] for p in record["context"]) for fact in record["evidence"])
