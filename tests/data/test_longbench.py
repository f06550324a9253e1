from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.data.longbench import context_text, split
from rlkit.errors import DataError

CONTEXT = (
    "Passage 1:\nEmma (novel)\nEmma is a novel by Jane Austen.\nIt appeared in 1815.\n"
    "Passage 2:\nJane Austen\nJane Austen was a novelist. She was born in England.\n\n"
    "Passage 3:\nBath\nBath is a city."
)
HOTPOT = {
    "_id": "b5a1",
    "input": "Which country is the author of Emma from? ",
    "context": CONTEXT,
    "answers": ["England"],
    "length": 28,
    "dataset": "hotpotqa",
    "language": "en",
    "all_classes": None,
}
FIELD = {
    **HOTPOT,
    "_id": "c7",
    "input": "How large was the sample?",
    "context": "1 Introduction\nWe asked people.\n2 Method\nThe sample was 40 people.\n",
    "answers": ["40 people", "40"],
    "dataset": "multifieldqa_en",
}


def hub_features():
    from datasets import Features, List, Value

    text = Value("string")
    texts = dict.fromkeys(("input", "context", "dataset", "language", "_id"), text)
    return Features({**texts, "answers": List(text), "length": Value("int32"), "all_classes": List(text)})


def test_a_multi_hop_row(load, write):
    assert next(load(write("hotpotqa.jsonl", [HOTPOT]), "longbench").records()) == {
        "id": "b5a1",
        "task": "care",
        "kind": "text",
        "question": "Which country is the author of Emma from?",
        "context": [
            {
                "title": "Passage 1:",
                "text": "Emma (novel)\nEmma is a novel by Jane Austen.\nIt appeared in 1815.",
            },
            {
                "title": "Passage 2:",
                "text": "Jane Austen\nJane Austen was a novelist. She was born in England.\n",
            },
            {"title": "Passage 3:", "text": "Bath\nBath is a city."},
        ],
        "golds": ["England"],
        "evidence": [],
        "source": "longbench",
        "dataset": "hotpotqa",
        "length": 28,
        "language": "en",
        "joined_by": "\n",
    }


def test_one_long_text_stays_one_passage(load, write):
    record = next(load(write("multifieldqa_en.jsonl", [FIELD]), "longbench").records())
    assert record["context"] == [{"title": "", "text": FIELD["context"]}]
    assert record["golds"] == ["40 people", "40"]
    assert context_text(record) == FIELD["context"]


@pytest.mark.parametrize("form", ["hub", "parquet", "saved"])
def test_hub_columns_give_the_same_records(load, write, hub, tmp_path, form):
    expected = list(load(write("rows.jsonl", [HOTPOT, FIELD]), "longbench").records())
    dataset = hub([HOTPOT, FIELD], hub_features())
    if form == "parquet":
        dataset.to_parquet(tmp_path / "rows.parquet")
        loaded = load("rows.parquet", "longbench")
    elif form == "saved":
        dataset.save_to_disk(tmp_path / "rows")
        loaded = load("rows", "longbench")
    else:
        loaded = load("zai-org/LongBench", "longbench", subset="hotpotqa", split="test")
        assert hub.asked == [("zai-org/LongBench", "hotpotqa", "test", None)]
    assert list(loaded.records()) == expected


def test_a_row_with_the_least_that_is_needed(load, write):
    row = {"input": "How large?", "context": "40 people", "answers": "40"}
    record = next(load(write("2hop_qa.jsonl", [row]), "longbench").records())
    assert (record["id"], record["golds"], record["context"]) == (
        "2hop_qa.jsonl:1",
        ["40"],
        [{"title": "", "text": "40 people"}],
    )


def test_rows_that_ask_nothing_are_counted(load, write):
    rows = [
        HOTPOT,
        {**HOTPOT, "_id": "s", "input": "", "dataset": "gov_report"},
        {**HOTPOT, "_id": "a", "answers": []},
        {**HOTPOT, "_id": "p", "context": " "},
    ]
    report = load(write("rows.jsonl", rows), "longbench").report
    assert {reason: count.examples for reason, count in report.dropped.items()} == {
        "no question": ["s"],
        "no answer": ["a"],
        "no passages": ["p"],
    }


FACTS = {
    "_id": "5a1",
    "question": "Which country is the  author of Emma from?",
    "answer": "England",
    "supporting_facts": [["Emma (novel)", 0], ["Jane Austen", 1]],
    "context": [
        ["Emma (novel)", ["Emma is a novel by Jane Austen."]],
        ["Jane Austen", ["She wrote.", "She was born in England."]],
    ],
}


def test_the_data_set_of_the_questions_brings_their_evidence(load, write):
    write("dev.json", [FACTS])
    other = {**FACTS, "supporting_facts": [["Jane Austen", 0]]}
    write("other.json", [other])
    path = write("hotpotqa.jsonl", [HOTPOT, FIELD])
    loaded = load(path, "longbench", facts="dev.json")
    assert [row["evidence"] for row in loaded.rows] == [
        ["Emma is a novel by Jane Austen.", "She was born in England."],
        [],
    ]
    assert {oddity: count.examples for oddity, count in loaded.report.noted.items()} == {
        "the file of facts does not hold the question": ["c7"]
    }
    assert load(path, "longbench", facts="other.json").report.noted[
        "evidence is not in the input word for word"
    ].examples == ["b5a1"]


def test_a_file_of_something_else_as_facts_is_named(load, write):
    write("facts.jsonl", [{"q": "?"}])
    with pytest.raises(DataError, match=r"facts\.jsonl:1: the columns here are q, but facts come from"):
        load(write("rows.jsonl", [HOTPOT]), "longbench", facts="facts.jsonl")


def test_columns_of_another_format_are_named(load, write):
    with pytest.raises(DataError, match="These columns look like format 'longbench'"):
        load(write("rows.jsonl", [HOTPOT]), "hotpotqa")


def test_headings_count_up():
    passages, joined_by = split("Passage 1:\nA\nPassage 7:\nB\nPassage 1:\nC\nPassage 2:\nD")
    assert [passage["text"] for passage in passages] == ["A\nPassage 7:\nB\nPassage 1:\nC", "D"]
    assert joined_by == "\n"


parts = st.lists(
    st.sampled_from(["Passage 1:\n", "Passage 2:\n", "Passage 3:\n", "Passage 2: ", "\n", "\n\n", "Ann.", " "]),
    min_size=1,
    max_size=14,
)


@given(parts)
@settings(deadline=None, max_examples=300)
def test_the_published_text_comes_back(pieces):
    text = "".join(pieces)
    passages, joined_by = split(text)
    record = {"context": passages, **({"joined_by": joined_by} if len(passages) > 1 else {})}
    assert context_text(record) == text


def test_real_questions_in_this_layout_keep_their_text(load, write, slices):
    rows, facts = [], slices / "hotpotqa_distractor.json"
    for row in json.loads(facts.read_text(encoding="utf-8")):
        bodies = [
            f"Passage {number}:\n{title}\n{''.join(said)}" for number, (title, said) in enumerate(row["context"], 1)
        ]
        columns = {"length": 1, "dataset": "hotpotqa", "language": "en", "all_classes": None}
        rows.append(
            {
                **columns,
                "_id": row["_id"],
                "input": row["question"],
                "context": "\n\n".join(bodies),
                "answers": [row["answer"]],
            }
        )
    loaded = load(write("hotpotqa.jsonl", rows), "longbench", facts=str(facts))
    assert loaded.report.kept == 60
    for record, row in zip(loaded.records(), rows, strict=True):
        assert context_text(record) == row["context"]
        assert len(record["context"]) == row["context"].count("Passage ")
    labelled = list(load(facts, "hotpotqa").records())
    assert [record["evidence"] for record in loaded.records()] == [record["evidence"] for record in labelled]
