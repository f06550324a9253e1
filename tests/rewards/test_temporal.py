"""Evidence overlap and temporal consistency: the published numbers, unknown bounds, and bad rows."""

import json
import math
import pickle
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.errors import RewardError, RowError
from rewards.evidence import jaccard_evidence
from rewards.sample import Event, Sample, Session, Utterance
from rewards.temporal import events_in_question, temporal_consistency

RANGE = ("2024-03-01", "2024-03-31")
INSIDE, OUTSIDE, ACROSS = ("2024-03-05", "2024-03-06"), ("2023-01-01", "2023-01-02"), ("2024-02-20", "2024-03-06")
FAR = "2021-01-01"


def session(name: str, day: str | None, *events: tuple[str | None, str | None]) -> Session:
    told = tuple(Event("Ann adopted a dog", *bounds) for bounds in events)
    return Session(name, day, (Utterance("Ann", "I did it!", day, told),))


def score(
    *sessions: Session, selected: list[str] | None = None, time_range: Any = RANGE, **parameters: Any
) -> float | None:
    names = [s.id for s in sessions] if selected is None else selected
    completion = json.dumps({"selected_memory": names, "answer": "B"})
    row = Sample(
        question="When did Ann adopt her dog?", sessions=sessions, time_range=time_range, completion=completion
    )
    return temporal_consistency(**parameters)(row)


@pytest.mark.parametrize(
    ("gap_days", "value"), [(0, 1.0), (1, 1.5 / (1 + math.exp(-6)) - 0.5), (7, 0.25), (8, 1.5 / (1 + math.e) - 0.5)]
)
def test_sessions_earn_the_published_curve_on_both_sides(gap_days: int, value: float) -> None:
    after = date(2024, 3, 31) + timedelta(days=gap_days)
    before = date(2024, 3, 1) - timedelta(days=gap_days)
    assert score(session("s", after.isoformat())) == pytest.approx(value, abs=1e-12)
    assert score(session("s", before.isoformat())) == pytest.approx(value, abs=1e-12)


def test_times_of_day_count_and_a_date_covers_its_day() -> None:
    noon = ("2024-03-01T12:00:00", "2024-03-31T12:00:00")
    assert score(session("s", "2024-03-31T12:00:01"), time_range=noon) == pytest.approx(0.9986, abs=1e-4)
    assert score(session("s", "2024-04-07T12:00:00"), time_range=noon) == 0.25
    assert score(session("s", "2024-03-31"), time_range=noon) == 1
    assert score(session("s", "2024-03-31T23:59:59"), time_range=RANGE) == 1


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "1000-01-01T00:00:00"])
def test_gaps_of_millions_of_days_are_finite(day: str) -> None:
    assert score(session("s", day)) == -0.5
    assert score(session("s", day), width_days=1e-9, midpoint_days=0.0) == -0.5
    assert score(session("s", day), width_days=1e9) == pytest.approx(0.25, abs=0.01)


def test_right_on_both_levels_beats_one_beats_none() -> None:
    both, said, happened, neither = (
        score(session("s", day, events)) for day in ("2024-03-08", FAR) for events in (INSIDE, OUTSIDE)
    )
    assert (both, said, happened) == (1, 0, 0.25)
    assert neither == -0.75 == temporal_consistency().bounds[0]
    assert both > happened > neither
    assert both > said > neither


def test_events_earn_one_a_half_or_minus_one_and_their_mean_counts() -> None:
    for events, value in (((INSIDE,), 1), ((ACROSS,), 0.75), ((OUTSIDE,), 0), ((INSIDE, OUTSIDE), 0.5), ((), 1)):
        assert score(session("s", "2024-03-08", *events)) == value
    assert score(session("s", "2024-03-08", ("2024", "2024"))) == 0.75
    assert score(session("s", "2024-03-08", ("2024-03", "2024-03"))) == 1
    assert score(session("s", "2024-03-08", ACROSS[::-1])) == 0.75


def test_events_are_compared_to_the_second_when_both_have_a_time_and_to_the_day_otherwise() -> None:
    noon = ("2024-03-01T12:00:00", "2024-03-31T12:00:00")
    for event, value in (
        (("2024-03-01T12:00:00", "2024-03-31T12:00:00"), 1),
        (("2024-03-01T11:59:59", "2024-03-31T12:00:00"), 0.75),
        (("2024-03-01T12:00:00", "2024-03-31T12:00:01"), 0.75),
        (("2024-03-31T12:00:01", "2024-03-31T12:00:01"), 0),
        (("2024-03-01", "2024-03-31"), 1),
        (("2024-02-29", "2024-03-31"), 0.75),
    ):
        assert score(session("s", "2024-03-08", event), time_range=noon) == value


@pytest.mark.parametrize(
    ("time_range", "event", "value"),
    [
        # An open range is open: nothing after its start can be outside.
        (("2024-03-01", None), INSIDE, 1),
        (("2024-03-01", None), ("2024-03-05", "2090-01-01"), 1),
        (("2024-03-01", None), ("2024-03-05", None), 1),
        (("2024-03-01", None), ("2024-02-05", None), -1),
        (("2024-03-01", None), (None, "2024-03-05"), 0.5),
        ((None, "2024-03-31"), (None, "2024-03-05"), 1),
        ((None, "2024-03-31"), ("1900-01-01", "2024-03-05"), 1),
        # A half-known event earns what is certain and no more.
        (RANGE, ("2024-03-05", None), 0.5),
        (RANGE, (None, "2024-03-05"), 0.5),
        (RANGE, ("2020-01-01", None), -1),
        (RANGE, (None, "2090-01-01"), -1),
        (RANGE, ("2020-01-01", "2090-01-01"), 0.5),
    ],
)
def test_unknown_bounds_are_open_and_give_no_free_credit(time_range: Any, event: Any, value: float) -> None:
    assert score(session("s", "2024-03-08", event), time_range=time_range) == (1 + value) / 2


def test_an_undated_event_is_not_judged_and_an_undated_session_is_far_away() -> None:
    assert score(session("s", "2024-03-08", (None, None))) == 1
    dated = session("d", "2024-03-08")
    assert score(dated, session("s", None), selected=["s"]) == -0.5
    assert score(dated, session("s", None, INSIDE), selected=["s"]) == 0.25


def test_ids_that_do_not_exist_and_no_selection_earn_the_least() -> None:
    right = session("s", "2024-03-08", INSIDE)
    assert score(right, selected=[]) == -0.75
    assert score(right, selected=["session_99"]) == -0.75
    assert score(right, selected=["s", "session_99"]) == 0.125
    assert score(right, selected=["<s>", "s", "s"]) == 1
    assert score(right, selected=[], floor=0.75) == -0.875 == temporal_consistency(floor=0.75).bounds[0]


@pytest.mark.parametrize(
    ("sessions", "time_range"),
    [
        ((session("s", "2024-03-08"),), (None, None)),
        ((session("s", "2024-03-08"),), None),
        ((), RANGE),
        ((session("s", None),), RANGE),
    ],
)
def test_it_does_not_apply_without_a_known_bound_or_a_dated_session(sessions: Any, time_range: Any) -> None:
    assert score(*sessions, selected=["s"], time_range=time_range) is None
    assert not temporal_consistency().applies(Sample(sessions=sessions, time_range=time_range))


def test_unreadable_output_is_left_to_the_format() -> None:
    row = Sample(sessions=[session("s", "2024-03-08")], time_range=RANGE, evidence=["s"], completion="s")
    assert temporal_consistency()(row) is None
    assert jaccard_evidence()(row) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time_range": ("unknown", "2024-03-31")}, "time_range start has the date 'unknown'"),
        ({"time_range": ("2024-03-31", "2024-03-01")}, "ends before that"),
        ({"sessions": [session("s", "last week")]}, "session s has the date 'last week'"),
        ({"sessions": [session("s", "2024-03-08", ("soon", None))]}, "event of session s start has the date 'soon'"),
        ({"sessions": [session("s", "2024-03-08"), session("<s>", "2024-03-09")]}, "two sessions have the same id"),
    ],
)
def test_bad_rows_are_found_before_any_completion(changes: dict[str, Any], words: str) -> None:
    row = Sample(**{"sessions": [session("s", "2024-03-08")], "time_range": RANGE, **changes})
    with pytest.raises(RowError, match=words):
        temporal_consistency().applies(row)


@pytest.mark.parametrize(
    "parameters",
    [
        {"width_days": 0.0},
        {"midpoint_days": math.inf},
        {"height": math.nan},
        {"floor": "deep"},
        {"floor": 1.5},
        {"height": 1.6},
    ],
)
def test_parameters_under_which_outside_could_beat_inside_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(RewardError, match=r"lower the height|must be finite"):
        temporal_consistency(**parameters)


def test_the_choice_of_events_can_be_replaced_and_pickles() -> None:
    part = temporal_consistency(events=no_events, midpoint_days=3.0)
    assert pickle.loads(pickle.dumps(part)) == part
    assert score(session("s", "2024-03-08", OUTSIDE), events=no_events) == 1


def no_events(sample: Sample, session: Session) -> list[Event]:
    return []


@pytest.mark.parametrize(
    ("question", "summary", "concerns"),
    [
        ("When did Ann adopt her dog?", "Ann adopts a dog", True),
        ("When did Ann move?", "Ann moved to Berlin with her sister", True),
        ("When did Ann and Bob move?", "Ann moved to Berlin with her sister", True),
        ("When did Ann adopt her dog?", "Ann sold the dog", True),
        ("When did Ann adopt a small brown dog?", "Ann walked a dog to Rome", False),
        ("When was the trip to Rome?", "Ann's trip to Rome", True),
        ("When did Ann adopt her dog?", "Ann bakes bread", False),
        ("What did Ann do in March?", "Ann bakes bread", False),
        ("What did Ann do?\nA. Ann baked bread.\nB. Ann painted a mural.", "Ann is baking a bread", True),
        ("What did Ann do?\nA. Ann baked bread.\nB. Ann painted a mural.", "Ann visited Rome", False),
        ("", "Ann bakes bread", False),
        ("When did Ann adopt her dog?", "", False),
        ("When did Ann do it?", "Ann did it", False),
    ],
)
def test_events_concern_the_question_when_they_share_content_words(question: str, summary: str, concerns: bool) -> None:
    told = Session("s", None, (Utterance("Ann", "", None, (Event(summary),)), Utterance("Bob", "")))
    assert bool(events_in_question(Sample(question=question), told)) is concerns


@settings(deadline=None, max_examples=100)
@given(st.floats(0, 4e5), st.floats(0, 4e5), st.floats(0.01, 100), st.floats(0, 60))
def test_a_longer_gap_never_earns_more(one: float, other: float, width_days: float, midpoint_days: float) -> None:
    start = date(1000, 1, 1)
    near, far = ((start + timedelta(days=days)).isoformat() for days in sorted((one, other)))
    parameters = {"time_range": (None, "1000-01-01"), "width_days": width_days, "midpoint_days": midpoint_days}
    values = [score(session("s", day), **parameters) for day in ("1000-01-01", near, far)]
    assert 1 == values[0] >= values[1] >= values[2] >= -0.5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("selected", "value"),
    [
        (["a", "b"], 1),
        (["b", "a", "<a>", " b "], 1),
        (["a"], 0),
        (["a", "b", "c", "d"], 0),
        (["a", "c"], 2 / 3 - 1),
        (["c"], -1),
        ([], -1),
    ],
)
def test_evidence_is_the_jaccard_overlap_stretched_to_minus_one(selected: list[str], value: float) -> None:
    completion = json.dumps({"selected_memory": selected, "answer": "B"})
    assert jaccard_evidence()(Sample(evidence=["a", "<b>", "a"], completion=completion)) == pytest.approx(value)


def test_evidence_applies_where_it_is_labelled() -> None:
    row = Sample(completion='{"selected_memory": ["a"], "answer": "B"}')
    assert not jaccard_evidence().applies(row)
    assert jaccard_evidence()(row) is None
    assert jaccard_evidence().applies(Sample(evidence="a"))
