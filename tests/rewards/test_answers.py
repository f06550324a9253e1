"""Typed answers: each kind's right and wrong forms, and every defect of the released graders as a case."""

import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.answers import temporal_answer
from rewards.errors import RewardError, RowError
from rewards.sample import Sample


def grade(kind: str, golds: Any, answer: Any, **parameters: float) -> float | None:
    completion = json.dumps({"selected_memory": ["s1"], "answer": answer})
    return temporal_answer(**parameters)(Sample(kind=kind, golds=golds, completion=completion))


@pytest.mark.parametrize("gold", ["B  C", "B, C", "(B) (C)", "(B)(C)", "C B", "BC", "B and C", ["B", "C"], ["B C"]])
@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("B  C", 1),
        ("C, B", 1),
        ("(B)(C)", 1),
        ("b c", 1),
        ("BC", 1),
        ("B C B", 1),
        (["B", "C"], 1),
        (["C", "C", "B"], 1),
        ("B. A walk.\nC. A swim.", 1),
        (["B. A walk", "C) A swim"], 1),
        ("B", 0),
        ("A B C D", 0),
        ("B or C", 0),
        ("CB", 0),
        ("None of the above", 0),
        (["B", "C", "none"], 0),
        ("(1)(4)", 0),
    ],
)
def test_choices_are_right_when_the_sets_of_letters_are_equal(gold: Any, answer: Any, value: float) -> None:
    assert grade("choice", gold, answer) == value


@pytest.mark.parametrize(
    "answer", ["B", "b", "(B)", "B.", "**B**", " B ", ["B"], "B. Duration 2 is longer.", "(B) Duration 2"]
)
def test_a_single_choice_may_carry_the_text_of_its_option(answer: Any) -> None:
    assert grade("choice", "B", answer) == 1
    assert grade("choice", "A", answer) == 0


@pytest.mark.parametrize(
    "answer", ["B) or A)", "B. or A.", "(B) or (A) one of them", "B. A walk or C. A swim", "B: x and D: y"]
)
def test_two_options_in_one_line_are_no_choice(answer: str) -> None:
    assert [grade("choice", gold, answer) for gold in ("A", "B", "C", "D", "B  C")] == [0.0] * 5


def test_names_in_the_text_of_an_option_are_no_letters() -> None:
    assert grade("choice", "B", "B. Ann, D. Smith or D.C. residents and B. Ann") == 1


def test_a_list_of_every_option_is_never_a_single_choice() -> None:
    everything = ["A B C D", ["A", "B", "C", "D"], "A. x\nB. y\nC. z\nD. w", "ABCD"]
    assert [grade("choice", gold, answer) for answer in everything for gold in "ABCD"] == [0.0] * 16


@pytest.mark.parametrize(
    ("gold", "answer", "value"),
    [
        ("10:45:41 pm, January 15, 2024", "2024-01-15T22:45:00", 1),
        ("10:45:41 pm, January 15, 2024", "10:45 PM on 15 January 2024", 1),
        ("10:45:41 pm, January 15, 2024", ["10:45 pm", "January 15, 2024"], 1),
        ("10:45:41 pm, January 15, 2024", "10:46 pm, January 15, 2024", 0),
        ("10:45:41 pm, January 15, 2024", "10:45 am, January 15, 2024", 0),
        ("10:45:41 pm, January 15, 2024", "January 15, 2024", 0),
        ("10:45:41 pm, January 15, 2024", "10:45:41 pm, January 15, 2014", 0),
        ("10:45:41 pm, January 15, 2024", "gibberish", 0),
        ("July 27, 2022", "2022-07-27", 1),
        ("July 27, 2022", "9:00 am, July 27, 2022", 1),
        ("July 27, 2022", "July 28, 2022", 0),
        ("July 27, 2022", "July 27, 2022 or July 28, 2022", 0),
        ("July 27, 2022", ["July 27, 2022", "July 28, 2022"], 0),
        ("July 27, 2022", "July 2022", 0),
        ("2022/3/27", "March 27, 2022", 1),
        ("May, 2023", "2023-05", 1),
        ("May, 2023", "June 2023", 0),
        ("2021", 2021, 1),
        ("Friday", "friday.", 1),
        ("Friday", "Thursday", 0),
    ],
)
def test_times_agree_to_the_day_or_the_minute(gold: str, answer: Any, value: float) -> None:
    assert grade("time", gold, answer) == value


@pytest.mark.parametrize(
    ("gold", "answer", "value"),
    [
        ("1 day", "24 hours", 1),
        ("1 day", ["24 hours"], 1),
        ("1 year", "12 months", 1),
        ("2 months 4 days", "64 days", 1),
        ("2 months 4 days", ["2 months", "4 days"], 1),
        ("3 months 8 days 19 hours 11 minutes", "3 months 8 days 19 hours", 1),
        ("9 days 23 hours 54 minutes 54 seconds", "10 days", 1),
        ("23 days", "24 days", 0),
        ("1 day", "2 days", 0),
        ("5 hours", "I do not know", 0),
        ("5 hours", "0 hours", 0),
        ("5 hours", "5 hours or 6 hours", 0),
        ("5 hours", "5", 0),
        ("0 days", "0 seconds", 1),
        ("0 days", "1 second", 0),
    ],
)
def test_durations_agree_in_their_total_length(gold: str, answer: Any, value: float) -> None:
    assert grade("duration", gold, answer) == value


def test_the_tolerance_is_a_share_of_the_gold() -> None:
    assert grade("duration", "100 days", "102 days") == 1
    assert grade("duration", "100 days", "98 days") == 1
    assert grade("duration", "100 days", "103 days") == 0
    assert grade("duration", "100 days", "103 days", tolerance=0.03) == 1
    assert grade("duration", "1 year", "12 months", tolerance=0.0) == 1


@pytest.mark.parametrize("gold", ["(2)(1)(4)(3)", "2, 1, 4, 3", ["2", "1", "4", "3"], [2, 1, 4, 3]])
@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("(2)(1)(4)(3)", 1),
        ("2, 1, 4, 3", 1),
        ("2 > 1 > 4 > 3", 1),
        ([2, 1, 4, 3], 1),
        (["(2)", "(1)", "(4)", "(3)"], 1),
        ("(2)(1)(3)(4)", 0.5),
        ("(2)", 0.25),
        ("(2)(1)(4)(3)(2)(1)(4)(3)", 0.5),
        ("(1)(2)(3)(4)", 0),
        ("2143", 0),
        ("see (2)(1)(4)(3)", 0),
        ("(2)(1)(4)(3) in my view", 4 / 7),
        ("no order", 0),
        ("()", 0),
    ],
)
def test_orders_earn_the_share_of_agreeing_positions(gold: Any, answer: Any, value: float) -> None:
    assert grade("order", gold, answer) == value


def test_orders_may_name_their_items() -> None:
    assert grade("order", "Rome, Paris, Oslo", ["Rome", "paris", "Oslo"]) == 1
    assert grade("order", "C B A", "(c)(a)(b)") == pytest.approx(1 / 3)


def test_golds_that_say_nothing_are_not_matched_by_answers_that_say_nothing() -> None:
    assert [grade(kind, "()", "[]") for kind in ("choice", "time", "duration", "order")] == [0.0] * 4


def test_text_is_bag_f1_with_the_best_gold() -> None:
    assert grade("text", ["the blue car", "a red bike"], "A red bike!") == 1
    assert grade("text", "blue car", "car") == pytest.approx(2 / 3)
    assert grade("text", 42, 42) == 1
    assert grade("text", "Rome, Paris", ["Rome", "Paris"]) == 1
    assert grade("text", "blue car", "bike") == 0


def test_several_golds_are_alternatives() -> None:
    assert grade("time", ["July 27, 2022", "July 28, 2022"], "2022-07-28") == 1
    assert grade("choice", ["A B", "C"], "C") == 1
    assert grade("order", ["(1)(2)", "(2)(1)"], "(2)(1)") == 1


def test_what_cannot_be_read_is_left_to_the_format() -> None:
    assert temporal_answer()(Sample(kind="choice", golds="B", completion="B")) is None


def test_unknown_kinds_are_an_error_with_the_nearest_name() -> None:
    with pytest.raises(RowError, match=r"'choise'.*Did you mean 'choice'"):
        grade("choise", "B", "B")
    with pytest.raises(RowError, match="kind is ''"):
        grade("", "B", "B")


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan"), "wide"])
def test_a_tolerance_that_makes_no_sense_is_refused(tolerance: Any) -> None:
    with pytest.raises(RewardError, match="tolerance is"):
        temporal_answer(tolerance=tolerance)


def test_it_pickles_and_shows_its_config() -> None:
    part = temporal_answer(tolerance=0.05)
    assert pickle.loads(pickle.dumps(part)) == part
    assert repr(part) == "temporal_answer(tolerance=0.05)"


KINDS = st.sampled_from(["choice", "time", "duration", "order", "text"])
# A closing think tag in an answer makes all before it a draft.
ANSWERS = st.text(min_size=1, max_size=30).filter(lambda text: "</think>" not in text) | st.sampled_from(
    ["B  C", "May, 2023", "10:45 pm, May 2, 2023", "2 months 4 days", "(2)(1)", "Friday", "A", "the"]
)


@settings(deadline=None, max_examples=120)
@given(KINDS, ANSWERS.filter(str.strip), st.lists(ANSWERS, min_size=1, max_size=3) | ANSWERS)
def test_the_gold_is_right_and_anything_else_lies_in_the_bounds(kind: str, gold: str, answer: Any) -> None:
    assert grade(kind, gold, gold) == 1
    value = grade(kind, gold, answer)
    assert value is None or 0 <= value <= 1
