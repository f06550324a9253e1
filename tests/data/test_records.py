from __future__ import annotations

import json

import pytest

from rlkit.data.jsonl import normalise
from rlkit.data.record import KEYS, features, to_json_line, to_record, to_row
from rlkit.errors import DataError

CARE = {"id": "q1", "question": "When?", "golds": 1815, "context": "Emma appeared in 1815.", "level": "easy"}
MEMORY = {
    "id": "q2",
    "task": "memory_t1",
    "kind": "choice",
    "question": "When did Ann move? A. March B. May",
    "asked_at": "2024-05-01T10:00:00",
    "golds": ["B"],
    "evidence": ["session_3"],
    "time_range": ["2024-03-01", None],
    "sessions": [
        {
            "id": "session_3",
            "date": "2024-03-05T09:00:00",
            "utterances": [
                {
                    "speaker": "Ann",
                    "text": "I moved last week.",
                    "time": "2024-03-05T09:00:10",
                    "events": [{"summary": "Ann moves", "start": "2024-02-27", "end": None}],
                }
            ],
        }
    ],
}


def test_both_tasks_go_through_one_schema_unchanged(load, write):
    from datasets import concatenate_datasets

    care, memory = load(write("care.jsonl", [CARE]), "records"), load(write("memory.jsonl", [MEMORY]), "records")
    rows = concatenate_datasets([care.rows, memory.rows])
    assert rows.features == features()
    first, second = (to_record(row) for row in rows)
    assert first == {
        "id": "q1",
        "task": "care",
        "kind": "text",
        "question": "When?",
        "context": [{"title": "", "text": "Emma appeared in 1815."}],
        "golds": ["1815"],
        "evidence": [],
        "source": "records",
        "level": "easy",
    }
    assert second == {**MEMORY, "context": [], "source": "records"}


def test_the_schema_has_every_key_of_a_record():
    assert set(features()) == {*KEYS, "extra"}


def test_loaded_rows_can_be_written_and_loaded_again(load, write, tmp_path):
    rows = [CARE, {**CARE, "id": "q2", "golds": ["a", "b"], "completion": "Answer: a"}]
    loaded = load(write("mine.jsonl", rows), "records")
    expected = list(loaded.records())
    loaded.rows.to_parquet(tmp_path / "again.parquet")
    assert list(load("again.parquet", "records").records()) == expected
    lines = "".join(to_json_line(record) + "\n" for record in expected)
    assert list(load(write("again.json", lines), "records").records()) == expected
    assert [to_record(to_row(record)) for record in expected] == expected


def test_rows_without_an_id_are_named_after_their_line(load, write):
    rows = [{"question": "?", "golds": "a", "context": "b"}] * 2
    assert load(write("mine.jsonl", rows), "records").rows["id"][:] == ["mine.jsonl:1", "mine.jsonl:2"]


@pytest.mark.parametrize(
    ("golds", "expected"),
    [
        ("1815", ["1815"]),
        (1815, ["1815"]),
        (2.5, ["2.5"]),
        (3.0, ["3"]),
        ([" Lisbon ", 7, "Lisbon"], ["Lisbon", "7"]),
    ],
)
def test_golds_become_a_list_of_text(golds, expected):
    assert normalise({**CARE, "golds": golds}, "f:1")["golds"] == expected


@pytest.mark.parametrize("golds", [True, float("nan"), {"text": "a"}, "", " ", ["a", ""], [["a"]], [None]])
def test_golds_that_can_only_be_guessed_at_are_refused(golds):
    with pytest.raises(DataError, match=r"^mine\.jsonl:7: row 'q1': golds holds"):
        normalise({**CARE, "golds": golds}, "mine.jsonl:7")


def test_an_integer_id_is_named_in_the_error():
    with pytest.raises(DataError, match=r"^f:1: row '12': golds is empty, so no answer could be right; give"):
        normalise({**CARE, "id": 12, "golds": []}, "f:1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"golds": None}, "column 'golds' is null; the columns here are id, question, golds, context, level."),
        ({"task": "car"}, "task 'car' is unknown; it must be one of care, memory_t1. Did you mean 'care'?"),
        ({"kind": "durations"}, "kind 'durations' is unknown.* Did you mean 'duration'?"),
        ({"question": " "}, "question is blank"),
        ({"question": 7}, "question is 7 .int., but must be text"),
        ({"context": []}, "context holds no passage"),
        ({"context": [{"body": "x"}]}, r"context\[0\] is .*but a passage is text or"),
        ({"context": [7]}, r"context\[0\] is 7"),
        ({"evidence": {"a": 1}}, "evidence holds"),
        ({"time_range": "2024"}, r"time_range is '2024', but must be \[start, end\]"),
        ({"hops": "two"}, "hops is 'two', but must be a whole number"),
        ({"task": "memory_t1"}, "column 'sessions' is missing"),
        ({"task": "memory_t1", "sessions": [{"date": "2024"}]}, r"sessions\[0\] is .* must be an object with id"),
        ({"sessions": [{"id": 1, "utterances": ["hi"]}]}, r"utterances of session 1\[0\] is 'hi'"),
    ],
)
def test_wrong_values_name_row_and_rule(change, message):
    with pytest.raises(DataError, match=message) as caught:
        normalise({**CARE, **change}, "mine.jsonl:7")
    assert str(caught.value).startswith("mine.jsonl:7: row 'q1': ")


def test_a_missing_gold_column_points_to_what_may_be_meant(load, write):
    rows = [{"question": "?", "answer": "a", "context": "b"}]
    with pytest.raises(
        DataError, match=r"mine\.jsonl:1: the columns here are question, answer, context.* Rename 'answer' to 'golds'"
    ):
        load(write("mine.jsonl", rows), "records")


def test_a_missing_context_is_an_error(load, write):
    with pytest.raises(
        DataError,
        match=r"column 'context' is missing; the columns here are question, golds, contexts\. Did you mean 'contexts'",
    ):
        load(write("mine.jsonl", [{"question": "?", "golds": "a", "contexts": "b"}]), "records")


def test_evidence_that_is_not_in_the_input_is_counted(load, write):
    rows = [
        {**CARE, "evidence": ["Emma  appeared\nin 1815."]},  # white space does not matter to the reward either
        {**CARE, "id": "q5", "evidence": ["Emma came out in 1815."]},
        {**MEMORY, "evidence": ["session_9"]},
    ]
    noted = load(write("mine.jsonl", rows), "records").report.noted
    assert noted["evidence is not in the input"].examples == ["q5", "q2"]


def test_half_a_surrogate_pair_is_replaced_and_counted(load, write):
    text = (
        json.dumps({**CARE, "golds": "caf\u00e9"})[:-1]
        + ', "asked_at": "x\\ud83d", "note": "\\ude00"}\n'
        + json.dumps({**CARE, "id": "q2"})
        + "\n"
    )
    loaded = load(write("mine.jsonl", text.encode()), "records")
    assert loaded.rows[0]["asked_at"] == "x?"
    assert loaded.rows[0]["golds"] == ["caf\u00e9"]
    assert loaded.report.noted["half a surrogate pair, replaced by '?'"].examples == ["q1"]


def test_user_columns_reach_a_reward(load, write):
    from rewards import Sample

    record = next(load(write("mine.jsonl", [CARE]), "records").records())
    assert Sample.from_record(record, completion="x").columns["level"] == "easy"


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("hello", "prompt is 'hello'"),
        (7, "prompt is 7"),
        ([], "prompt is []"),
        ({"role": "user", "content": "Hi"}, "prompt is {'role'"),
        ([{"role": "user"}], "prompt[0] is {'role': 'user'}"),
        ([{"role": "user", "content": "Hi"}, "Hi"], "prompt[1] is 'Hi'"),
        ([{"role": "user", "content": ["Hi"]}], "prompt[0] is"),
        ([{"role": "user", "content": "Hi", "name": "Ann"}], "prompt[0] is"),
        ([{"role": "", "content": "Hi"}], "prompt[0] is"),
    ],
)
def test_a_prompt_of_another_shape_is_refused_where_it_stands(prompt, shown):
    with pytest.raises(DataError) as caught:
        normalise({**CARE, "prompt": prompt}, "mine.jsonl:7")
    message = str(caught.value)
    assert message.startswith(f"mine.jsonl:7: row 'q1': {shown}")
    assert "must be a list of messages" in message
    assert "take the column out" in message
    assert "\n" not in message


def test_a_prompt_of_messages_is_kept_and_a_null_is_none(load, write):
    prompt = [{"role": "system", "content": ""}, {"role": "user", "content": "When?"}]
    first, second = load(
        write("in.jsonl", [{**CARE, "prompt": prompt}, {**CARE, "id": "q2", "prompt": None}]), "records"
    ).records()
    assert first["prompt"] == prompt
    assert "prompt" not in second
