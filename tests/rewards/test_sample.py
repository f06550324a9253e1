"""Rows in every shape that data sets have them, and chat tokens."""

from __future__ import annotations

import pickle
from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import Event, Passage, RowError, Sample, Session
from rewards.sample import strip_chat_tokens


@pytest.mark.parametrize(
    ("golds", "texts"),
    [
        ("Rome", ("Rome",)),
        (1815, ("1815",)),
        (1815.0, ("1815",)),
        (0.5, ("0.5",)),
        (["Rome", "Roma"], ("Rome", "Roma")),
        ([["Rome", "Roma"], 7], ("Rome", "Roma", "7")),
        (None, ()),
        ([None, "x"], None),
        ({"spans": []}, None),
        (["", "  ", "Rome"], ("Rome",)),
        (float("nan"), ()),
    ],
)
def test_golds_of_every_shape_become_texts_or_an_error_that_names_the_row(golds, texts):
    if texts is None:
        with pytest.raises(RowError, match="row q1: golds holds"):
            Sample(id="q1", golds=golds)
    else:
        assert Sample(id="q1", golds=golds).golds == texts


def test_context_is_text_or_title_and_text():
    sample = Sample(
        context=["a", {"text": "b"}, {"title": "T", "text": "c"}, {"title": None, "text": "d"}, Passage("e")]
    )
    assert sample.context == (Passage("a"), Passage("b"), Passage("c", "T"), Passage("d"), Passage("e"))
    assert Sample(context="only one").context == (Passage("only one"),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"completion": None}, "completion is NoneType"),
        ({"completion": ["x"]}, "completion is list"),
        ({"context": {"title": ["a"], "text": ["b"]}}, "context is dict"),
        ({"context": [None]}, "context holds None"),
        ({"context": [["title", ["sentence"]]]}, "context holds"),
        ({"sessions": {"s1": {}}}, "sessions is dict"),
        ({"sessions": [{"date": "2024-01-01"}]}, "an object with an 'id'"),
        ({"sessions": [{"id": 1, "utterances": ["hello"]}]}, "an utterance is 'hello'"),
        ({"sessions": [{"id": 1, "utterances": [{"events": [["x"]]}]}]}, "an event is"),
        ({"sessions": [{"id": 1, "date": 20240101}]}, "date is 20240101"),
        ({"time_range": "2024"}, "time_range is '2024'"),
        ({"time_range": ["2024-01-01"]}, "must be \\[start, end\\]"),
    ],
)
def test_wrong_shapes_are_row_errors(fields, message):
    with pytest.raises(RowError, match=f"row q1: .*{message}"):
        Sample(id="q1", **fields)


def test_sessions_come_as_dicts_with_gaps_and_dates():
    said = {"speaker": None, "text": "Hi", "time": datetime(2024, 5, 1, 9), "events": None}
    told = {"speaker": "Ann", "text": "", "events": [{"summary": "trip", "start": date(2024, 4, 1), "end": None}]}
    sample = Sample(
        sessions=[{"id": 3, "date": date(2024, 5, 1), "utterances": [said, told]}, {"id": "4", "utterances": None}]
    )
    first, second = sample.sessions
    assert (first.id, first.date, first.utterances[0].time) == ("3", "2024-05-01", "2024-05-01T09:00:00")
    assert first.utterances[1].events == (Event("trip", "2024-04-01", None),)
    assert second == Session("4")


def test_a_record_gives_its_further_keys_as_columns():
    record = {"id": 7, "golds": ["x"], "context": None, "time_range": None, "level": "hard", "completion": "old"}
    sample = Sample.from_record(record, completion="new")
    assert (sample.id, sample.completion, sample.columns) == ("7", "new", {"level": "hard"})
    assert Sample.from_record(record).completion == "old"
    assert Sample.from_record({"id": "a"}).completion == ""


def test_another_completion_is_parsed_anew():
    sample = Sample(completion="<think><retrieval>a</retrieval></think> Answer: x")
    assert sample.care.answer == "x"
    assert sample.care is sample.care
    assert sample.with_completion("<think><retrieval>a</retrieval></think> Answer: y").care.answer == "y"
    assert pickle.loads(pickle.dumps(sample)) == sample


@pytest.mark.parametrize(
    "tail",
    ["<|im_end|>", "</s>", "<|eot_id|>\n</s> ", "<pad>" * 50, "<｜end▁of▁sentence｜>", "<end_of_turn>\n", "[PAD][PAD]"],
)
def test_special_tokens_are_no_part_of_a_completion(tail):
    assert strip_chat_tokens("Answer: Lisbon" + tail) == "Answer: Lisbon"


@pytest.mark.parametrize("text", ["a <| b |> c", "x </s> y", "<think>a</think>", "if a <|b", "s>", "<s"])
def test_what_is_content_stays(text):
    assert strip_chat_tokens(text) == text


@settings(deadline=None, max_examples=100)
@given(
    st.text(alphabet="<|>/s a｜im_end[PAD]", max_size=40),
    st.lists(st.sampled_from(["<|im_end|>", "</s>", "<pad>", " "])),
)
def test_appended_tokens_never_change_a_completion(text, tokens):
    assert strip_chat_tokens(text + "<|im_end|>" + "".join(tokens)) == strip_chat_tokens(text + "<|im_end|>")
    assert strip_chat_tokens(text + "<|im_end|>") == strip_chat_tokens(text)
