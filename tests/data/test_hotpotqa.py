from __future__ import annotations

import json

import pytest

QUESTION = {
    "_id": "5a1",
    "question": "Which country is the author of Emma from? ",
    "answer": "England",
    "type": "bridge",
    "level": "medium",
    "supporting_facts": [["Emma (novel)", 0], ["Jane Austen", 1]],
    "context": [
        ["Bath", ["Bath is a city.", " It has baths."]],
        ["Emma (novel)", ["Emma is a novel by Jane Austen.", " It appeared in 1815."]],
        ["Jane Austen", ["Jane Austen was a novelist.", " She was born in England.", "She wrote six novels."]],
    ],
}


def hub_features():
    from datasets import Features, List, Value

    text = Value("string")
    return Features(
        {
            "id": text,
            "question": text,
            "answer": text,
            "type": text,
            "level": text,
            "supporting_facts": {"title": List(text), "sent_id": List(Value("int32"))},
            "context": {"title": List(text), "sentences": List(List(text))},
        }
    )


def hub_row(row):
    facts, context = row["supporting_facts"], row["context"]
    return {
        **{key: row[key] for key in ("question", "answer", "type", "level")},
        "id": row["_id"],
        "supporting_facts": {"title": [fact[0] for fact in facts], "sent_id": [fact[1] for fact in facts]},
        "context": {"title": [item[0] for item in context], "sentences": [item[1] for item in context]},
    }


def test_original_layout(load, write):
    record = next(load(write("hotpot.json", [QUESTION]), "hotpotqa").records())
    assert record == {
        "id": "5a1",
        "task": "care",
        "kind": "text",
        "question": "Which country is the author of Emma from?",
        "context": [
            {"title": "Bath", "text": "Bath is a city. It has baths."},
            {"title": "Emma (novel)", "text": "Emma is a novel by Jane Austen. It appeared in 1815."},
            {
                "title": "Jane Austen",
                "text": "Jane Austen was a novelist. She was born in England. She wrote six novels.",
            },
        ],
        "golds": ["England"],
        "evidence": ["Emma is a novel by Jane Austen.", "She was born in England."],
        "source": "hotpotqa",
        "hops": 2,
        "subtask": "bridge",
    }


@pytest.mark.parametrize("form", ["hub", "parquet", "jsonl", "saved"])
def test_hub_columns_give_the_same_records(load, write, hub, tmp_path, form):
    rows = [QUESTION, {**QUESTION, "_id": "5a2", "supporting_facts": [["Bath", 9]]}]
    expected = list(load(write("hotpot.json", rows), "hotpotqa").records())
    dataset = hub([hub_row(row) for row in rows], hub_features())
    if form == "parquet":
        dataset.to_parquet(tmp_path / "rows.parquet")
        loaded = load("rows.parquet", "hotpotqa")
    elif form == "jsonl":
        dataset.to_json(tmp_path / "rows.json")  # JSON lines under the suffix of a JSON file
        loaded = load("rows.json", "hotpotqa")
    elif form == "saved":
        dataset.save_to_disk(tmp_path / "rows")
        loaded = load("rows", "hotpotqa")
    else:
        loaded = load("hotpotqa/hotpot_qa", "hotpotqa", subset="distractor", split="train", revision="main")
        assert hub.asked == [("hotpotqa/hotpot_qa", "distractor", "train", "main")]
    assert list(loaded.records()) == expected
    assert list(loaded.report.noted) == ["supporting fact: no such sentence in the paragraph"]


def test_facts_that_point_nowhere_are_counted_and_the_others_stay(load, write):
    facts = [["Emma (novel)", 7], ["Jane Austen", 1], ["Persuasion", 0], ["Emma (novel)", -1]]
    loaded = load(write("hotpot.json", [{**QUESTION, "supporting_facts": facts}]), "hotpotqa")
    assert loaded.rows[0]["evidence"] == ["She was born in England."]
    counts = {reason: (count.rows, count.examples) for reason, count in loaded.report.noted.items()}
    assert counts == {
        "supporting fact: no such sentence in the paragraph": (2, ["5a1", "5a1"]),
        "supporting fact: no paragraph with that title": (1, ["5a1"]),
    }


def test_of_two_paragraphs_with_one_title_the_first_that_is_long_enough_is_meant(load, write):
    context = [["Emma", ["Emma is a film."]], ["Emma", ["Emma is a novel.", " It is by Austen."]]]
    facts = [["Emma", 1], ["Emma", 0], ["Emma", 0]]
    row = {**QUESTION, "context": context, "supporting_facts": facts}
    assert load(write("hotpot.json", [row]), "hotpotqa").rows[0]["evidence"] == ["It is by Austen.", "Emma is a film."]


def test_questions_without_an_answer_or_passages_are_dropped_and_counted(load, write):
    rows = [QUESTION, {**QUESTION, "_id": "5a2", "answer": None}, {**QUESTION, "_id": "5a3", "context": []}]
    report = load(write("hotpot.json", rows), "hotpotqa").report
    assert (report.read, report.kept) == (3, 1)
    assert {reason: count.examples for reason, count in report.dropped.items()} == {
        "no answer": ["5a2"],
        "no passages": ["5a3"],
    }


def test_the_real_slice(load, slices):
    loaded = load(slices / "hotpotqa_distractor.json", "hotpotqa")
    original = json.loads((slices / "hotpotqa_distractor.json").read_text(encoding="utf-8"))
    assert [record["id"] for record in loaded.records()] == [row["_id"] for row in original]
    facts = 0
    for record, row in zip(loaded.records(), original, strict=True):
        assert record["golds"] == [row["answer"]]
        assert [passage["title"] for passage in record["context"]] == [title for title, _ in row["context"]]
        for sentence in (sentence.strip() for _, sentences in row["context"] for sentence in sentences):
            assert any(sentence in passage["text"] for passage in record["context"])
        assert all(any(fact in passage["text"] for passage in record["context"]) for fact in record["evidence"])
        facts += len(record["evidence"])
    labelled = sum(len(row["supporting_facts"]) for row in original)
    assert facts + sum(count.rows for count in loaded.report.noted.values()) == labelled


def test_the_real_slice_in_hub_columns(load, slices, tmp_path):
    from datasets import Dataset

    original = json.loads((slices / "hotpotqa_distractor.json").read_text(encoding="utf-8"))
    dataset = Dataset.from_list([hub_row(row) for row in original], features=hub_features())
    dataset.to_parquet(tmp_path / "hub.parquet")
    expected = list(load(slices / "hotpotqa_distractor.json", "hotpotqa").records())
    assert list(load("hub.parquet", "hotpotqa").records()) == expected
