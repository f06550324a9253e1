"""Candidate sessions: what each stage keeps, what it says it lost, and what the reward then sees."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import Sample, presets
from rewards.gold import gold_completion
from rewards.temporal import temporal_consistency
from rlkit.data.layout import Report
from rlkit.data.record import to_record, to_row
from rlkit.errors import ConfigError, DataError
from rlkit.memory.candidates import Candidates, overlaps
from rlkit.memory.prompt import session_text

ALL = Candidates(top_k=None, budget_tokens=None, time_range="none", margin_days=0)
MARCH = datetime(2024, 3, 1), datetime(2024, 3, 31, 23, 59, 59)


def count(text: str) -> int:
    return len(text.split())


def session(name: str, date: str | None, text: str = "hello", *events: tuple[str | None, str | None]) -> dict[str, Any]:
    told = [{"summary": "something", "start": start, "end": end} for start, end in events]
    return {"id": name, "date": date, "utterances": [{"speaker": "Ann", "text": text, "time": None, "events": told}]}


def row(*sessions: dict[str, Any], **fields: Any) -> Any:
    return {"id": "q1", "task": "memory_t1", "question": "Where is the dog?", "sessions": list(sessions), **fields}


def ids(record: Any) -> list[str]:
    return [session["id"] for session in record["sessions"]]


MONTHS = [session(f"s{month}", f"2024-{month:02}-15") for month in range(1, 7)]


# --- the time range


@pytest.mark.parametrize(
    ("date", "events", "kept"),
    [
        ("2024-03-31", [], True),
        ("2024-04-01", [], False),
        ("2024-03", [], True),
        ("2024", [], True),
        (None, [], True),
        ("some day", [], True),
        (None, [("2024-05-01", "2024-05-02")], True),
        ("2024-04-01", [("2024-05-01", "2024-05-02"), ("2024-03-31", "2024-04-01")], True),
        ("2024-04-01", [("2024-05-01", "2024-05-02")], False),
        ("2024-04-01", [(None, "2024-04-01")], True),
        ("2024-04-01", [("2024-04-01", None)], False),
        ("2024-04-01", [("2024-02-01", None)], True),
        ("2024-04-01", [(None, None)], False),
        ("2024-04-01", [("2024-04-02", "2024-03-02")], True),
        ("2024-04-01", [("last Friday", "last Friday")], False),
    ],
)
def test_a_session_goes_only_when_all_that_is_known_of_it_lies_outside(
    date: str | None, events: Any, kept: bool
) -> None:
    assert overlaps(session("s", date, "hello", *events), MARCH) is kept


def test_the_annotated_range_is_widened_on_both_sides_and_unknown_bounds_are_open() -> None:
    def kept(time_range: Any, margin_days: float = 0) -> list[str]:
        options = replace(ALL, time_range="annotated", margin_days=margin_days)
        return ids(options.apply(row(*MONTHS, time_range=time_range), None)[0])

    assert kept(["2024-03-16", "2024-04-14"], margin_days=1) == ["s3", "s4"]
    assert kept(["2024-03-16", None]) == ["s4", "s5", "s6"]
    assert kept([None, "2024-03-14"]) == ["s1", "s2"]
    assert kept([None, None]) == kept(None) == [f"s{month}" for month in range(1, 7)]
    assert kept(["0001-01-01", "9999-12-31"], margin_days=40_000) == [f"s{month}" for month in range(1, 7)]


def test_a_range_that_holds_no_session_keeps_all() -> None:
    record, told = replace(ALL, time_range="annotated").apply(
        row(*MONTHS, time_range=["1999-01-01", "1999-12-31"]), None
    )
    assert ids(record) == [f"s{month}" for month in range(1, 7)]
    assert told.range_held_none
    assert told.lost == {}


def test_a_callable_gives_the_range_and_is_asked_with_question_and_time() -> None:
    asked = []

    def march(question: str, asked_at: str | None) -> tuple[str, str]:
        asked.append((question, asked_at))
        return "2024-03-01", "2024-03-31"

    record, told = ALL.apply(row(*MONTHS, asked_at="2024-05-01"), None, march)
    assert ids(record) == ["s3"]
    assert asked == [("Where is the dog?", "2024-05-01")]
    assert told.time_range == ("2024-03-01T00:00:00", "2024-03-31T23:59:59")
    assert told.lost == {"time_range": ("s1", "s2", "s4", "s5", "s6")}


def test_the_rules_read_the_question_and_never_the_label() -> None:
    options = replace(ALL, time_range="rules")
    question = "What did Ann do in March 2024?"
    record, told = options.apply({**row(*MONTHS, time_range=["2024-06-01", None]), "question": question}, None)
    assert ids(record) == ["s3"]
    assert told.time_range == ("2024-03-01T00:00:00", "2024-03-31T23:59:59")
    assert options.apply(row(*MONTHS), None)[1].time_range is None


def test_an_unreadable_bound_is_an_error_that_names_row_and_value() -> None:
    with pytest.raises(DataError, match=r"row q1: time_range has the bound 'soon', which cannot be read"):
        replace(ALL, time_range="annotated").apply(row(*MONTHS, time_range=["soon", None]), None)


# --- BM25 and the budget


def test_bm25_ranks_what_passed_the_range_and_the_best_k_stay() -> None:
    sessions = [session("s1", "2024-01-15", "dog dog dog"), session("s2", "2024-03-01", "cat"),
                session("s3", "2024-03-02", "a dog"), session("s4", "2024-03-03", "rain")]  # fmt: skip
    record, told = replace(ALL, time_range="annotated", top_k=1).apply(
        row(*sessions, time_range=["2024-03-01", None]), None
    )
    assert ids(record) == ["s3"]
    assert [name for name, _ in told.ranked] == ["s3", "s2", "s4"]
    assert told.lost == {"time_range": ("s1",), "top_k": ("s2", "s4")}


def test_a_session_that_does_not_fit_is_passed_over_and_none_is_cut() -> None:
    sessions = [session("s1", "2024-01-01", "dog dog dog"), session("s2", "2024-01-02", "dog " + "word " * 50),
                session("s3", "2024-01-03", "rain")]  # fmt: skip
    cost = [count(session_text(one)) for one in sessions]
    record, told = replace(ALL, budget_tokens=cost[0] + cost[2]).apply(row(*sessions), count)
    assert record["sessions"] == [sessions[0], sessions[2]]
    assert told.lost == {"budget_tokens": ("s2",)}
    assert told.tokens == cost[0] + cost[2]
    record, told = replace(ALL, budget_tokens=cost[0] + cost[2] - 1).apply(row(*sessions), count)
    assert ids(record) == ["s1"]
    record, told = replace(ALL, budget_tokens=1).apply(row(*sessions), count)
    assert ids(record) == []
    assert told.problem == "no session fits into memory.budget_tokens"


def test_a_budget_without_a_tokenizer_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"memory\.budget_tokens: is 16000, but there is no tokenizer"):
        Candidates(time_range="none").apply(row(*MONTHS), None)


def test_sessions_stand_in_the_order_of_their_dates_undated_ones_last() -> None:
    sessions = [
        session("u1", None, "dog"),
        session("b", "2024-03-05T10:00:00"),
        session("u2", None),
        session("a", "2024-03-05"),
    ]
    assert ids(ALL.apply(row(*sessions), None)[0]) == ["a", "b", "u1", "u2"]


def test_rows_of_another_task_stay_as_they_are() -> None:
    care = {"id": "q", "task": "care", "question": "?", "context": []}
    record, told = Candidates().apply(care, None)  # type: ignore[arg-type]
    assert record is care
    assert told.problem == ""


# --- gold sessions


def test_gold_sessions_hold_through_every_stage_when_and_only_when_the_options_say_so() -> None:
    gold = session("s9", "2024-05-01", "nothing of the kind " * 3)
    sessions = [session("s1", "2024-03-01", "dog"), session("s2", "2024-03-02", "dog"), gold]
    memory = row(*sessions, time_range=["2024-03-01", "2024-03-31"], evidence=["s9"])
    budget = count(session_text(gold))
    options = Candidates(top_k=1, budget_tokens=budget, time_range="annotated", margin_days=0)
    record, told = options.apply(memory, count)
    assert ids(record) == ["s1"]
    assert told.gold_lost == {"time_range": ("s9",)}
    record, told = replace(options, keep_gold=True).apply(memory, count)
    assert ids(record) == ["s9"]
    assert told.gold_lost == {}
    assert "evidence_lost" not in record
    record, told = replace(options, keep_gold=True, budget_tokens=budget - 1).apply(memory, count)
    assert told.gold_lost == {"budget_tokens": ("s9",)}  # the budget holds for gold sessions too


def test_keeping_gold_does_not_raise_k_unless_gold_is_more() -> None:
    sessions = [session(f"s{i}", f"2024-03-0{i}", "dog") for i in range(1, 7)]
    for evidence, shown in ((["s6"], ["s1", "s2", "s6"]), (["s3", "s4", "s5", "s6"], ["s3", "s4", "s5", "s6"])):
        record, _ = replace(ALL, top_k=3, keep_gold=True).apply(row(*sessions, evidence=evidence), None)
        assert ids(record) == shown


def test_a_gold_session_that_is_not_shown_pays_nothing_and_stays_on_record() -> None:
    sessions = [session("session_1", "2024-03-01", "dog"), session("session_2", "2024-03-02", "cat")]
    labels = {
        "kind": "choice",
        "golds": ["B"],
        "evidence": ["<session_1>", "session_2"],
        "time_range": ["2024-03-01", None],
    }
    record, told = replace(ALL, top_k=1).apply(row(*sessions, **labels), None)
    assert (record["evidence"], record["evidence_lost"]) == (["<session_1>"], ["session_2"])  # type: ignore[typeddict-item]
    assert told.gold_lost == {"top_k": ("session_2",)}
    reward, sample = presets.memory_t1(), Sample.from_record(record)
    gold = reward(sample.with_completion(gold_completion(sample)))
    guessed = reward(sample.with_completion(json.dumps({"selected_memory": ["session_1", "session_2"], "answer": "B"})))
    assert gold.total == gold.maximum == 1.0
    assert guessed.total is not None
    assert guessed.total < gold.total
    assert temporal_consistency()(sample.with_completion('{"selected_memory": ["session_2"], "answer": "B"}')) == -0.75
    assert to_record(to_row(record))["evidence_lost"] == ["session_2"]  # type: ignore[typeddict-item]


def test_rows_that_lose_their_gold_are_counted_by_stage_and_named() -> None:
    sessions = [session("s1", "2024-03-01", "dog"), session("s2", "2024-03-02", "cat")]
    record, told = replace(ALL, top_k=1).apply(row(*sessions, evidence=["s2", "s7"]), None)
    assert told.problem == "none of its gold sessions is among the candidates"
    report = Report()
    told.note(report, "q1")
    assert {reason: found.examples for reason, found in report.noted.items()} == {
        "a gold session is not in the memory": ["q1"],
        "a gold session lost to memory.top_k": ["q1"],
    }
    assert record["evidence"] == []


# --- laws


@st.composite
def memories(draw: st.DrawFn) -> Any:
    days = st.none() | st.integers(1, 28).map("2024-03-{:02}".format)
    texts = st.lists(st.sampled_from(["dog", "cat", "rain", "walk"]), max_size=12).map(" ".join)
    spans = st.lists(st.tuples(days, days), max_size=2)
    sessions = [session(f"s{i}", draw(days), draw(texts), *draw(spans)) for i in range(draw(st.integers(1, 6)))]
    evidence = draw(st.lists(st.sampled_from([one["id"] for one in sessions]), max_size=3, unique=True))
    return row(*sessions, evidence=evidence, time_range=[draw(days), draw(days)])


OPTIONS = st.builds(
    Candidates,
    top_k=st.none() | st.integers(1, 4),
    budget_tokens=st.none() | st.integers(1, 60),
    time_range=st.sampled_from(["none", "annotated"]),
    margin_days=st.integers(0, 5),
    keep_gold=st.booleans(),
)


@settings(deadline=None, max_examples=80)
@given(memories(), OPTIONS)
def test_every_session_is_shown_or_lost_to_one_stage_and_no_limit_is_exceeded(memory: Any, options: Candidates) -> None:
    before = json.dumps(memory)
    record, told = options.apply(memory, count)
    assert json.dumps(memory) == before
    lost = [name for stage, names in told.lost.items() if stage != "memory" for name in names]
    assert sorted(ids(record) + lost) == sorted(ids(memory))
    assert told.tokens == sum(count(session_text(one)) for one in record["sessions"])
    if options.budget_tokens is not None:
        assert told.tokens <= options.budget_tokens
    if options.top_k is not None:
        assert len(record["sessions"]) <= max(options.top_k, len(memory["evidence"]) if options.keep_gold else 0)
    if options.keep_gold and options.budget_tokens is None:
        assert set(memory["evidence"]) <= set(ids(record))
    assert [*record["evidence"], *record.get("evidence_lost", [])] == sorted(
        memory["evidence"], key=lambda name: name not in ids(record)
    )
    assert options.apply(memory, count) == (record, told)


@settings(deadline=None, max_examples=40)
@given(memories(), OPTIONS)
def test_a_wider_margin_loses_no_session_to_the_range_that_a_narrower_one_kept(
    memory: Any, options: Candidates
) -> None:
    options = replace(options, time_range="annotated", keep_gold=False)
    narrow = options.apply(memory, count)[1]
    wide = replace(options, margin_days=options.margin_days + 2).apply(memory, count)[1]
    if not narrow.range_held_none:
        assert set(wide.lost.get("time_range", ())) <= set(narrow.lost.get("time_range", ()))


@settings(deadline=None, max_examples=40)
@given(memories(), OPTIONS)
def test_without_labels_the_candidates_are_the_same(memory: Any, options: Candidates) -> None:
    options = replace(options, time_range="none", keep_gold=False)
    bare = {**memory, "evidence": [], "time_range": None}
    assert ids(options.apply(memory, count)[0]) == ids(options.apply(bare, count)[0])


# --- options


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"topk": 3}, r"x: memory\.topk: no such key\. Did you mean 'top_k'\? Known keys: top_k, budget_tokens,"),
        ({"top_k": 0}, r"x: memory\.top_k: is 0, but must be a whole number of at least 1, or null for no limit\."),
        ({"top_k": True}, r"top_k: is True, but must be a whole number"),
        ({"budget_tokens": 1.5}, r"budget_tokens: is 1\.5, but must be a whole number"),
        ({"time_range": "anotated"}, r"time_range: is 'anotated', .* Did you mean 'annotated'\?"),
        ({"time_range": None}, r"time_range: is None, but must be one of none, annotated, rules\."),
        ({"margin_days": -1}, r"margin_days: is -1, but must be a number of days of at least 0\."),
        ({"margin_days": float("nan")}, r"margin_days: is nan"),
        ({"keep_gold": "yes"}, r"keep_gold: is 'yes', but must be true or false\."),
        ([], r"x: memory: is \[\], but must be a mapping"),
    ],
)
def test_wrong_options_are_refused_with_path_rule_and_nearest_name(section: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Candidates.from_config(section, "x: memory")


def test_options_come_from_a_section_and_travel_between_processes() -> None:
    options = Candidates.from_config({"top_k": None, "margin_days": 3, "keep_gold": True}, "memory")
    assert options == Candidates(top_k=None, margin_days=3, keep_gold=True)
    assert Candidates.from_config(None) == Candidates()
    assert pickle.loads(pickle.dumps(options)) == options
    assert hash(options) == hash(pickle.loads(pickle.dumps(options)))
