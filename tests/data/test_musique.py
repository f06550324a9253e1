from __future__ import annotations

import json

import pytest

QUESTION = {
    "id": "2hop__1_2",
    "paragraphs": [
        {"idx": 0, "title": "Emma", "paragraph_text": "Emma is a novel by Jane Austen.", "is_supporting": True},
        {"idx": 1, "title": "Emma", "paragraph_text": "Emma is a given name.", "is_supporting": False},
        {"idx": 2, "title": "Jane Austen", "paragraph_text": "She was born in Steventon.", "is_supporting": True},
    ],
    "question": "Where was the author of Emma born?",
    "question_decomposition": [
        {"id": 1, "question": "Emma >> author", "answer": "Jane Austen", "paragraph_support_idx": 0},
        {"id": 2, "question": "#1 >> place of birth", "answer": "Steventon", "paragraph_support_idx": 2},
    ],
    "answer": "Steventon",
    "answer_aliases": ["Steventon, Hampshire", "Steventon"],
    "answerable": True,
}


def test_original_layout(load, write):
    record = next(load(write("musique.jsonl", [QUESTION]), "musique").records())
    assert record["context"][1] == {"title": "Emma", "text": "Emma is a given name."}
    assert record["golds"] == ["Steventon", "Steventon, Hampshire"]
    assert record["evidence"] == ["Emma is a novel by Jane Austen.", "She was born in Steventon."]
    assert (record["hops"], record["source"]) == (2, "musique")


def test_unanswerable_questions_are_dropped_and_counted(load, write):
    rows = [QUESTION] + [{**QUESTION, "id": f"n{number}", "answerable": False} for number in range(7)]
    report = load(write("musique.jsonl", rows), "musique").report
    assert (report.read, report.kept, report.dropped["unanswerable"].rows) == (8, 1, 7)
    assert report.dropped["unanswerable"].examples == ["n0", "n1", "n2", "n3", "n4"]
    assert "dropped 7: unanswerable (n0, n1, n2, n3, n4, ...)" in str(report)


@pytest.mark.parametrize("nested", ["lists of structs", "struct of lists"])
def test_hub_columns_give_the_same_records(load, write, hub, nested):
    from datasets import Features, List, Value

    text, number = Value("string"), Value("int64")
    paragraph = {"idx": number, "title": text, "paragraph_text": text, "is_supporting": Value("bool")}
    step = {"id": number, "question": text, "answer": text, "paragraph_support_idx": number}
    row = QUESTION
    if nested == "struct of lists":  # what `Sequence` of a struct means
        row = {
            **QUESTION,
            "paragraphs": {key: [item[key] for item in QUESTION["paragraphs"]] for key in paragraph},
            "question_decomposition": {key: [item[key] for item in QUESTION["question_decomposition"]] for key in step},
        }
        lists = {key: List(kind) for key, kind in paragraph.items()}, {key: List(kind) for key, kind in step.items()}
    else:
        lists = List(paragraph), List(step)
    features = Features(
        {
            "id": text,
            "paragraphs": lists[0],
            "question": text,
            "question_decomposition": lists[1],
            "answer": text,
            "answer_aliases": List(text),
            "answerable": Value("bool"),
        }
    )
    hub([row], features)
    expected = list(load(write("musique.jsonl", [QUESTION]), "musique").records())
    assert list(load("dgslibisey/MuSiQue", "musique", split="train").records()) == expected


def test_the_real_slice(load, slices):
    loaded = load(slices / "musique_ans.jsonl", "musique")
    lines = (slices / "musique_ans.jsonl").read_text(encoding="utf-8").splitlines()
    assert (loaded.report.read, loaded.report.kept, loaded.report.noted) == (60, 60, {})
    for record, line in zip(loaded.records(), lines, strict=True):
        row = json.loads(line)
        assert record["id"] == row["id"]
        assert record["hops"] == len(record["evidence"]) == int(row["id"][0])
        assert len(record["context"]) == len(row["paragraphs"])
        assert set(record["golds"]) == {row["answer"], *row["answer_aliases"]}


def test_where_makes_one_file_its_own_easy_and_hard_source(load, slices):
    easy = load(slices / "musique_ans.jsonl", "musique", where={"hops": [None, 2]})
    hard = load(slices / "musique_ans.jsonl", "musique", where={"hops": [3, None]})
    assert (len(easy.rows), len(hard.rows)) == (39, 21)
    assert {record["hops"] for record in easy.records()} == {2}
    assert hard.report.dropped["not where hops [3, null]"].rows == 39
    assert (hard.report.read, hard.report.kept) == (60, 21)
