"""What turns a fact is no misspelling: a quote that changes it earns nothing, however few characters differ."""

from __future__ import annotations

import pytest

from rewards import Sample, presets
from rewards.contradiction import contradict, symbols
from rewards.explain import explain
from rewards.quotes import locate
from rewards.sample import Passage
from rewards.text import words


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("film", "movie", False),
        ("The", "this", False),
        ("", "", False),
        ("", "his", False),
        ("naïve café", "naive cafe", False),
        ("1990", "1991", True),
        ("two", "three", True),
        ("eighteenth", "nineteenth", True),
        ("", "twice", True),
        ("sixties", "seventies", True),
        ("months", "years", True),
        ("km", "mi", True),
        ("northern", "southern", True),
        ("", "not", True),
        ("isn't", "is", True),
        ("isn’t", "is", True),
        ("didnt", "did", True),
        ("n ot", "", True),
        ("falsely", "", True),
        ("lost", "won", True),
        ("won", "lost", True),
        ("she", "he", True),
        ("before", "after", True),
        ("brother's", "sister’s", True),
        ("Paris", "city", True),
        ("paris", "Rome", True),
        ("known", "unknown", True),
        ("dissolved", "solved", True),
        ("三", "四", True),
        ("京", "海", True),  # no capital letters, so it may be a name
        ("nеver", "", True),  # with a Cyrillic letter
    ],
)
def test_what_counts_as_a_contradiction(ours: str, theirs: str, expected: bool) -> None:
    assert contradict(words(ours), words(theirs)) is expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from 1990-1995 and (1990) -1995", ["-"]),
        ("it fell to −5 °C, 3 < 4", ["-", "°", "<"]),
        ("$5 or €5, 5 % of £7", ["$", "€", "%", "£"]),
        ("a well-known man, no - none", []),
    ],
)
def test_symbols_that_turn_numbers(text: str, found: list[str]) -> None:
    assert symbols(text) == found


FACT = "In the nineteenth century his older brother sold the northern estate for $500, 12 miles before the border."


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nineteenth", "eighteenth"),
        ("century", "decade"),
        ("his", "her"),
        ("older", "younger"),
        ("brother", "sister"),
        ("sold", "bought"),
        ("northern", "southern"),
        ("$500", "€500"),
        ("$500", "500"),
        ("12", "-12"),
        ("miles", "metres"),
        ("before", "after"),
        ("sold", "falsely sold"),
        ("sold", "n ot sold"),
        ("sold", "n\u200bot sold"),
    ],
)
def test_a_quote_that_turns_a_fact_stands_nowhere(old: str, new: str) -> None:
    assert locate(FACT.replace(old, new), [Passage(FACT)]) is None


@pytest.mark.parametrize(("old", "new"), [("estate", "estates"), ("the border", "border"), ("older ", "oIder ")])
def test_a_misspelt_quote_stands_nearly(old: str, new: str) -> None:
    match = locate(FACT.replace(old, new), [Passage(FACT)])
    assert match is not None
    assert match.kind == "fuzzy"


def test_the_sign_that_differs_is_told() -> None:
    row = Sample(task="care", golds="y", context=[FACT])
    quote = FACT.replace("12", "-12")
    said = row.with_completion(f"<think><retrieval>{quote}</retrieval></think> Answer: y")
    (quoted,) = explain(said, presets.care()).quotes
    assert quoted.reason.endswith("but what differs may turn a fact: “$ -” for “$”")
