from __future__ import annotations

import json

import pytest

from rlkit.errors import DataError

QUESTION = {
    "_id": "8813f87c0bdd11eba7f7acde48001122",
    "type": "compositional",
    "question": "Who is the mother of the director of film Polish-Russian War? ",
    "context": [
        ["Polish-Russian War", ["Polish-Russian War is a film.", "It was directed by Xawery Zulawski."]],
        ["Xawery Zulawski", ["Xawery Zulawski is a director.", "He is the son of Malgorzata Braunek."]],
        ["Bath", ["Bath is a city."]],
    ],
    "supporting_facts": [["Polish-Russian War", 1], ["Xawery Zulawski", 1]],
    "evidences": [["Polish-Russian War", "director", "Xawery Zulawski"], ["Xawery Zulawski", "mother", "M. Braunek"]],
    "answer": "Malgorzata Braunek",
    "entity_ids": "Q1_Q2",
    "evidences_id": [],
    "answer_id": "Q274277",
}
ALIASES = [
    {"Q_id": "Q274277", "aliases": ["M. Braunek", "Malgorzata Braunek"], "demonyms": ["Braunek"]},
    {"Q_id": "Q30", "aliases": ["USA"], "demonyms": ["American"]},
]


def columns(row, sentences="content"):
    context, facts, evidences = row["context"], row["supporting_facts"], row["evidences"]
    return {
        **{key: row[key] for key in ("_id", "type", "question", "answer")},
        "context": {"title": [item[0] for item in context], sentences: [item[1] for item in context]},
        "supporting_facts": {"title": [fact[0] for fact in facts], "sent_id": [fact[1] for fact in facts]},
        "evidences": {
            name: [triple[place] for triple in evidences] for place, name in enumerate(("fact", "relation", "entity"))
        },
    }


def renamed(row):
    row = columns(row, "sentences")
    row["id"] = row.pop("_id")
    return row


def as_text(row):
    nested = ("context", "supporting_facts", "evidences")
    return {key: json.dumps(value) if key in nested else value for key, value in row.items()}


def as_objects(row):
    context = [{"title": title, "content": sentences} for title, sentences in row["context"]]
    facts = [{"title": title, "sent_id": index} for title, index in row["supporting_facts"]]
    return {**row, "context": context, "supporting_facts": facts}


def test_original_layout(load, write):
    loaded = load(write("dev.json", [QUESTION]), "2wikimultihopqa")
    assert next(loaded.records()) == {
        "id": "8813f87c0bdd11eba7f7acde48001122",
        "task": "care",
        "kind": "text",
        "question": "Who is the mother of the director of film Polish-Russian War?",
        "context": [
            {
                "title": "Polish-Russian War",
                "text": "Polish-Russian War is a film. It was directed by Xawery Zulawski.",
            },
            {
                "title": "Xawery Zulawski",
                "text": "Xawery Zulawski is a director. He is the son of Malgorzata Braunek.",
            },
            {"title": "Bath", "text": "Bath is a city."},
        ],
        "golds": ["Malgorzata Braunek"],
        "evidence": ["It was directed by Xawery Zulawski.", "He is the son of Malgorzata Braunek."],
        "source": "2wikimultihopqa",
        "hops": 2,
        "subtask": "compositional",
    }
    assert not loaded.report.noted


@pytest.mark.parametrize("form", [columns, renamed, as_text, as_objects])
@pytest.mark.parametrize("file", ["rows.parquet", "rows.jsonl"])
def test_hub_columns_give_the_same_records(load, write, tmp_path, form, file):
    from datasets import Dataset

    rows = [QUESTION, {**QUESTION, "_id": "other", "supporting_facts": [["Bath", 9], ["Oslo", 0]]}]
    expected = list(load(write("dev.json", rows), "2wikimultihopqa").records())
    if file.endswith(".parquet"):
        if form is as_objects:
            rows = [{key: row[key] for key in row if key not in ("evidences", "evidences_id")} for row in rows]
        Dataset.from_list([form(row) for row in rows]).to_parquet(tmp_path / file)
    else:
        write(file, [form(row) for row in rows])
    loaded = load(file, "2wikimultihopqa")
    assert list(loaded.records()) == expected
    assert list(loaded.report.noted) == [
        "supporting fact: no such sentence in the paragraph",
        "supporting fact: no paragraph with that title",
    ]


def test_hub_id(load, write, hub):
    from datasets import Features, List, Value

    text = Value("string")
    features = Features(
        {
            **dict.fromkeys(("id", "type", "question", "answer"), text),
            "context": {"title": List(text), "sentences": List(List(text))},
            "supporting_facts": {"title": List(text), "sent_id": List(Value("int32"))},
            "evidences": {name: List(text) for name in ("fact", "relation", "entity")},
        }
    )
    hub([renamed(QUESTION)], features)
    loaded = load("framolfese/2WikiMultihopQA", "2wikimultihopqa", split="validation")
    assert hub.asked == [("framolfese/2WikiMultihopQA", None, "validation", None)]
    assert list(loaded.records()) == list(load(write("dev.json", [QUESTION]), "2wikimultihopqa").records())


def test_other_names_of_the_answer_are_golds_too(load, write):
    write("id_aliases.json", "".join(json.dumps(line) + "\n" for line in ALIASES))
    rows = [QUESTION, {**QUESTION, "_id": "q2", "answer_id": None}, {**QUESTION, "_id": "q3", "answer_id": "Q9"}]
    loaded = load(write("dev.json", rows), "2wikimultihopqa", aliases="id_aliases.json")
    assert [row["golds"] for row in loaded.rows] == [
        ["Malgorzata Braunek", "M. Braunek", "Braunek"],
        ["Malgorzata Braunek"],
        ["Malgorzata Braunek"],
    ]


def test_a_file_of_something_else_as_aliases_is_named(load, write):
    write("aliases.jsonl", [{"id": "Q1", "names": []}])
    with pytest.raises(DataError, match=r"aliases\.jsonl:1: the columns here are id, names, but .* id_aliases\.json"):
        load(write("dev.json", [QUESTION]), "2wikimultihopqa", aliases="aliases.jsonl")


def test_the_test_split_has_no_answers(load, write):
    unanswered = {**QUESTION, "_id": "t1", "answer": "", "supporting_facts": [], "evidences": []}
    report = load(write("test.json", [QUESTION, unanswered]), "2wikimultihopqa").report
    assert report.dropped["no answer"].examples == ["t1"]


def test_text_that_is_no_json_is_named_with_its_line(load, write):
    with pytest.raises(DataError, match=r"dev\.jsonl:1: this row has the columns of format '2wikimultihopqa'"):
        load(write("dev.jsonl", [{**QUESTION, "context": "Polish-Russian War is a film."}]), "2wikimultihopqa")


def test_the_real_hotpotqa_slice_reads_the_same_in_this_format(load, slices):
    path = slices / "hotpotqa_distractor.json"
    expected = [{**record, "source": "2wikimultihopqa"} for record in load(path, "hotpotqa").records()]
    assert list(load(path, "2wikimultihopqa").records()) == expected
