"""The laws of the whole Memory-T1 reward, over generated memories: cheating never pays and gold is the one maximum."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rewards.answers import temporal_answer
from rewards.compose import weighted
from rewards.evidence import jaccard_evidence
from rewards.parse_memory import memory_format
from rewards.sample import Event, Sample, Session, Utterance
from rewards.temporal import temporal_consistency

REWARD = weighted(
    format=(1.0, memory_format()),
    accuracy=(0.6, temporal_answer()),
    evidence=(0.2, jaccard_evidence()),
    temporal=(0.2, temporal_consistency()),
)
WORST_HONEST, UNREADABLE = -0.35, -0.5
ANSWERS = {"right": "B", "wrong": "C"}
DAY_ZERO = date(2024, 1, 1)
CHAT_TOKENS = ["<|im_end|>", "<|endoftext|>", "<|eot_id|></s>", "</s><pad><pad>", "\n<|im_end|>\n"]


def total(row: Sample, selected: Sequence[str], answer: str = "right") -> float:
    completion = json.dumps({"selected_memory": list(selected), "answer": ANSWERS[answer]})
    value = REWARD(row.with_completion(completion)).total
    assert value is not None
    return value


def iso(day: int | None) -> str | None:
    return None if day is None else (DAY_ZERO + timedelta(days=day)).isoformat()


DAYS = st.integers(0, 40)
MAYBE_DAYS = st.none() | DAYS
SUMMARIES = st.sampled_from(["Ann adopted a dog", "Ann's dog is adopted", "Bob bakes bread", ""])


@st.composite
def events(draw: st.DrawFn) -> Event:
    start, end = draw(MAYBE_DAYS), draw(MAYBE_DAYS)
    return Event(draw(SUMMARIES), iso(start), iso(end))


@st.composite
def rows(draw: st.DrawFn, most_sessions: int = 5) -> Sample:
    count = draw(st.integers(1, most_sessions))
    sessions = [
        Session(
            f"s{i}", iso(draw(MAYBE_DAYS)), (Utterance("Ann", "", None, tuple(draw(st.lists(events(), max_size=3)))),)
        )
        for i in range(count)
    ]
    start, end = sorted((draw(DAYS), draw(DAYS)))
    time_range = draw(st.sampled_from([(start, end), (start, None), (None, end), (None, None)]))
    return Sample(
        kind="choice",
        golds="B",
        question="When did Ann adopt her dog?",
        sessions=sessions,
        evidence=[f"s{i}" for i in sorted(draw(st.sets(st.integers(0, count - 1), min_size=1)))],
        time_range=(iso(time_range[0]), iso(time_range[1])),
    )


def selections(row: Sample) -> list[tuple[str, ...]]:
    """Every set of the memory's sessions, with and without one that does not exist."""
    names = [session.id for session in row.sessions]
    real = [chosen for size in range(len(names) + 1) for chosen in combinations(names, size)]
    return real + [(*chosen, "s99") for chosen in real]


@settings(deadline=None, max_examples=40)
@given(rows(), st.sampled_from(["right", "wrong"]))
def test_gold_is_the_one_maximum_over_all_selections_with_the_same_answer(row: Sample, answer: str) -> None:
    gold = total(row, row.evidence, answer)
    for selected in selections(row):
        if set(selected) != set(row.evidence):
            assert total(row, selected, answer) < gold - 0.005, selected


@settings(deadline=None, max_examples=40)
@given(rows(), st.sampled_from(["right", "wrong"]))
def test_every_honest_attempt_beats_unreadable_output_and_no_selection_beats_none(row: Sample, answer: str) -> None:
    least = total(row, [], answer)
    for selected in selections(row):
        value = total(row, selected, answer)
        assert UNREADABLE < WORST_HONEST - 1e-9 <= least <= value <= 1
    assert REWARD(row.with_completion("Session s0, so B.")).total == UNREADABLE


@settings(deadline=None, max_examples=40)
@given(rows())
def test_a_right_answer_always_beats_a_wrong_one_with_the_same_selection(row: Sample) -> None:
    for selected in selections(row):
        assert total(row, selected) == pytest.approx(total(row, selected, "wrong") + 0.6)


@settings(deadline=None, max_examples=40)
@given(rows())
def test_an_invented_id_is_never_better_than_a_session_of_the_memory(row: Sample) -> None:
    for selected in selections(row):
        for i, name in enumerate(selected):
            if name != "s99" and "s99" not in selected:
                invented = (*selected[:i], "s99", *selected[i + 1 :])
                assert total(row, invented) <= total(row, selected) + 1e-12
    more = [f"made_up_{i}" for i in range(50)]
    assert total(row, more) == pytest.approx(total(row, []))


@settings(deadline=None, max_examples=40)
@given(rows(), st.randoms(use_true_random=False), st.sampled_from(CHAT_TOKENS))
def test_repeats_order_brackets_and_chat_tokens_change_nothing(row: Sample, random: Any, tokens: str) -> None:
    for selected in selections(row):
        noisy = [name for name in selected for _ in range(random.randint(1, 3))]
        random.shuffle(noisy)
        noisy = [random.choice([name, f"<{name}>", f" {name} "]) for name in noisy]
        completion = f"```json\n{json.dumps({'answer': '(B)', 'selected_memory': noisy})}\n```{tokens}"
        # Scores may differ in the last bit, because a mean in another order rounds differently.
        assert REWARD(row.with_completion(completion)).total == pytest.approx(total(row, selected), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(rows())
def test_without_a_known_bound_a_row_allows_less_and_the_same_for_every_rollout(row: Sample) -> None:
    row = replace(row, time_range=(None, None))
    assert REWARD.maximum(row) == pytest.approx(0.8)
    assert total(row, row.evidence) == pytest.approx(0.8)
    for selected in selections(row):
        completion = json.dumps({"selected_memory": selected, "answer": "B"})
        assert REWARD(row.with_completion(completion)).parts["temporal"] is None


@settings(deadline=None, max_examples=40)
@given(rows(most_sessions=3), st.data())
def test_losing_a_date_never_earns_credit(row: Sample, data: st.DataObject) -> None:
    assume(any(row.time_range or ()))
    index = data.draw(st.integers(0, len(row.sessions) - 1))
    session = row.sessions[index]
    told = [event for said in session.utterances for event in said.events]
    known = [(i, name) for i, event in enumerate(told) for name in ("start", "end") if event.start and event.end]
    if known and data.draw(st.booleans()):
        i, name = data.draw(st.sampled_from(known))
        if told[i].start > told[i].end:  # type: ignore[operator]
            told[i] = Event(told[i].summary, told[i].end, told[i].start)
        told[i] = replace(told[i], **{name: None})
        poorer = replace(session, utterances=(Utterance("Ann", "", None, tuple(told)),))
    else:
        poorer = replace(session, date=None)
    sessions = [*row.sessions[:index], poorer, *row.sessions[index + 1 :]]
    assume(any(s.date for s in sessions))
    anchor = Session("anchor", "2024-01-01")  # keeps the part applicable when the date that goes is the last one
    before = total(replace(row, sessions=[*row.sessions, anchor]), [session.id])
    after = total(replace(row, sessions=[*sessions, anchor]), [session.id])
    assert after <= before + 1e-12


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(0, 30), st.integers(0, 10), st.data())
def test_gold_scores_exactly_one_when_its_sessions_and_events_lie_in_a_known_range(
    count: int, start: int, length: int, data: st.DataObject
) -> None:
    inside = st.integers(start, start + length)
    sessions = []
    for i in range(count):
        spans = [sorted((data.draw(inside), data.draw(inside))) for _ in range(data.draw(st.integers(0, 3)))]
        told = tuple(Event("Ann adopted a dog", iso(first), iso(last)) for first, last in spans)
        sessions.append(Session(f"s{i}", iso(data.draw(inside)), (Utterance("Ann", "", None, told),)))
    bounds = data.draw(st.sampled_from([(start, start + length), (start, None), (None, start + length)]))
    row = Sample(
        kind="choice",
        golds="B",
        question="When did Ann adopt her dog?",
        sessions=sessions,
        evidence=[session.id for session in sessions],
        time_range=(iso(bounds[0]), iso(bounds[1])),
    )
    assert total(row, row.evidence) == REWARD.maximum(row) == 1.0


def test_a_wrong_answer_with_every_session_cited_does_not_beat_one_with_the_right_session() -> None:
    sessions = [Session(f"s{i}", iso(i)) for i in range(30)]
    row = Sample(kind="choice", golds="B", sessions=sessions, evidence=["s3"], time_range=(iso(0), iso(10)))
    everything = total(row, [session.id for session in sessions], "wrong")
    assert everything < total(row, ["s3", "s4"], "wrong") < total(row, ["s3"], "wrong")
    assert everything < -0.1


@settings(deadline=None, max_examples=150)
@given(rows(most_sessions=2), st.text(max_size=120) | st.text('{}[]":, <s0>1Bselected_memoryanswer\n', max_size=120))
def test_any_text_scores_finite_and_in_range(row: Sample, text: str) -> None:
    score = REWARD(row.with_completion(text))
    assert score.total is not None
    assert UNREADABLE <= score.total <= 1


@pytest.mark.parametrize("kind", ["choice", "time", "duration", "order", "text"])
def test_a_megabyte_inside_a_readable_object_is_scored_in_less_than_half_a_second(kind: str) -> None:
    sessions = [Session(f"s{i}", iso(i)) for i in range(30)]
    row = Sample(kind=kind, golds="(2)(1)", sessions=sessions, evidence=["s3"], time_range=(iso(0), iso(10)))
    many = [f"s{i}" for i in range(100_000)]
    for selected, answer in (
        (many, "B"),
        (["s3"], "a" * 1_000_000),
        (["s3"], "(1) " * 250_000),
        (["s3"], ["B"] * 150_000),
    ):
        completion = json.dumps({"selected_memory": selected, "answer": answer})
        seconds = []
        for _ in range(3):  # the least of them: on a busy machine the same work costs several times as much
            start = time.process_time()
            score = REWARD(row.with_completion(completion))
            seconds.append(time.process_time() - start)
            assert score.total is not None
            if seconds[-1] < 0.5:
                break
        assert min(seconds) < 0.5
