from __future__ import annotations

import json

import pytest

from rlkit.errors import DataError


def passages(*items):
    return [
        {"is_selected": chosen, "passage_text": text, "url": f"https://example.org/{number}"}
        for number, (text, chosen) in enumerate(items)
    ]


ROWS = [
    {
        "answers": ["8,849 metres."],
        "passages": passages(("Everest is high.", 0), ("Everest is 8,849 metres tall.", 1)),
        "query": ")how tall is everest ",
        "query_id": 19699,
        "query_type": "NUMERIC",
        "wellFormedAnswers": ["Mount Everest is 8,849 metres tall."],
    },
    {
        "answers": ["No Answer Present."],
        "passages": passages(("Nothing here.", 0)),
        "query": "who am i",
        "query_id": 19700,
        "query_type": "PERSON",
        "wellFormedAnswers": "[]",
    },
    {
        "answers": ["A company.", "A legal person."],
        "passages": passages(("A corporation is a company.", 0), ("It is a legal person.", 0)),
        "query": ". what is a corporation?",
        "query_id": 1102432,
        "query_type": "DESCRIPTION",
        "wellFormedAnswers": "[]",
    },
]


def columns(rows):
    """The shape of the version 2.1 release: one object a column, keyed by the row's number in the table."""
    return {name: {str(number * 3): row[name] for number, row in enumerate(rows)} for name in sorted(rows[0])}


def test_original_layout(load, write):
    loaded = load(write("train_v2.1.json", columns(ROWS)), "ms_marco")
    first, second = loaded.records()
    assert first["id"] == "19699"
    assert first["question"] == ")how tall is everest"
    assert first["golds"] == ["8,849 metres.", "Mount Everest is 8,849 metres tall."]
    assert first["evidence"] == ["Everest is 8,849 metres tall."]
    assert first["context"][0] == {"title": "", "text": "Everest is high."}
    assert (second["golds"], second["evidence"]) == (["A company.", "A legal person."], [])
    assert loaded.report.dropped["unanswerable"].examples == ["19700"]
    assert loaded.report.noted["no passage is marked as used"].examples == ["1102432"]


def test_rows_a_line_and_hub_columns_give_the_same_records(load, write, hub):
    from datasets import Features, List, Value

    text = Value("string")
    features = Features(
        {
            "answers": List(text),
            "passages": {"is_selected": List(Value("int32")), "passage_text": List(text), "url": List(text)},
            "query": text,
            "query_id": Value("int32"),
            "query_type": text,
            "wellFormedAnswers": List(text),
        }
    )
    nested = ("is_selected", "passage_text", "url")
    hub(
        [
            {
                **row,
                "passages": {key: [item[key] for item in row["passages"]] for key in nested},
                "wellFormedAnswers": [] if row["wellFormedAnswers"] == "[]" else row["wellFormedAnswers"],
            }
            for row in ROWS
        ],
        features,
    )
    expected = list(load(write("train_v2.1.json", columns(ROWS)), "ms_marco").records())
    assert list(load(write("train_v1.1.jsonl", ROWS), "ms_marco").records()) == expected
    assert list(load("microsoft/ms_marco", "ms_marco", subset="v2.1", split="train").records()) == expected


def test_a_column_may_leave_rows_out(load, write):
    release = columns(ROWS)
    release["wellFormedAnswers"] = {"6": ["A corporation is a company."]}
    records = list(load(write("dev.json", release), "ms_marco").records())
    assert [len(record["golds"]) for record in records] == [1, 3]


def test_a_passage_without_a_mark_is_no_evidence(load, write):
    """The hub writes -1 where the release has no mark."""
    unmarked = [{"passage_text": "Everest is 8,849 metres tall.", "url": "u"}]
    rows = [{**ROWS[0], "passages": items} for items in (unmarked, [{**unmarked[0], "is_selected": -1}])]
    loaded = load(write("dev.jsonl", rows), "ms_marco")
    assert [record["evidence"] for record in loaded.records()] == [[], []]
    assert loaded.report.noted["no passage is marked as used"].rows == 2


def test_rows_that_begin_with_their_passages_are_no_columns(load, write):
    nested = {"passage_text": ["Everest is tall."], "is_selected": [1], "url": ["u"]}
    row = {"passages": nested, "query": "?", "query_id": 1, "answers": ["a"]}
    assert len(load(write("dev.json", json.dumps(row) + "\n" + json.dumps(row)), "ms_marco").rows) == 2


@pytest.mark.parametrize("first", ["passages", "query", "query_type", "wellFormedAnswers"])
def test_the_order_of_the_columns_does_not_matter(load, write, first):
    release = columns(ROWS)
    release = {first: release.pop(first), **release}
    assert len(load(write("dev.json", release), "ms_marco").rows) == 2


def test_columns_in_different_orders_of_ids_are_refused(load, write):
    release = columns(ROWS)
    release["answers"] = dict(reversed(release["answers"].items()))
    with pytest.raises(DataError, match=r"row '0' does not stand in the same place in 'query' and in 'answers', so"):
        load(write("dev.json", release), "ms_marco")
    release = columns(ROWS)
    release["wellFormedAnswers"] = dict(reversed(release["wellFormedAnswers"].items()))
    with pytest.raises(DataError, match=r"row '3' does not stand in the same place in 'query' and in 'wellF"):
        load(write("dev.json", release), "ms_marco")


def test_the_evaluation_file_has_no_answers(load, write):
    release = columns(ROWS)
    del release["answers"], release["wellFormedAnswers"]
    with pytest.raises(DataError, match=r"columns answers are missing.*take train or dev"):
        load(write("eval_v2.1_public.json", release), "ms_marco")


def test_a_broken_column_wise_file_names_the_line(load, write):
    text = json.dumps(columns(ROWS), indent=1).replace('"query_id": {', '"query_id": {,', 1)
    line = text[: text.index("{,")].count("\n") + 1
    with pytest.raises(DataError, match=rf"dev\.json:{line}: broken JSON"):
        load(write("dev.json", text), "ms_marco")
