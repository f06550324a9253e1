"""Explanations: they agree with the scorer in every value and every offset, say why in words, and escape what they show."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards import RewardError, Sample, Score, answer_in_quotes, fact_coverage, presets, quotes_in_context, weighted
from rewards.explain import explain
from rewards.part import for_task
from rewards.quotes import find_quotes, locate, open_book
from rewards.temporal import temporal_consistency
from rewards.testing import samples
from rewards.text import fold

EMMA = "Emma is an  1815 novel by Jane Austen, set in the village of Highbury."
CARE = presets.care(facts=(0.1, fact_coverage()), answer=(0.1, answer_in_quotes()))
MEMORY = presets.memory_t1()
quick = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def quoting(*spans: str, **fields: object) -> Sample:
    quoted = " ".join(f"<retrieval>{span}</retrieval>" for span in spans)
    row = {"question": "When was Emma written?", "golds": "1815", "context": [{"title": "Emma", "text": EMMA}]}
    return Sample(**{**row, **fields, "completion": f"<think>{quoted}</think> Answer: 1815"})  # type: ignore[arg-type]


@st.composite
def near_quotes(draw: Callable) -> Sample:
    """Quotes of a passage with words left out, changed, repeated and in another case, between all kinds of white space."""
    words = EMMA.split()
    spans = []
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(words) - 1))
        taken = words[start : draw(st.integers(start, len(words)))]
        if taken and draw(st.booleans()):
            taken[draw(st.integers(0, len(taken) - 1))] = draw(
                st.sampled_from(["", "a", "never", "1816", "town", "Anne"])
            )
        span = draw(st.sampled_from([" ", "\n", "  "])).join(taken)
        spans.append(draw(st.sampled_from([span, span.upper(), f"“{span}”"])))
    return quoting(
        *spans, evidence=draw(st.lists(st.sampled_from([EMMA, "set in the village", "nowhere"]), max_size=2))
    )


@quick
@given(st.one_of(near_quotes(), samples("care")))
def test_care_values_and_offsets_are_the_scorers(sample: Sample) -> None:
    score = CARE(sample)
    told = explain(sample, CARE)
    assert (told.total, told.maximum) == (score.total, score.maximum)
    assert {part.name: part.value for part in told.parts} == dict(score.parts)
    assert math.fsum(part.worth for part in told.parts if part.worth is not None) == pytest.approx(score.total)
    assert math.fsum(part.best for part in told.parts) == pytest.approx(score.maximum)
    assert all(part.reasons for part in told.parts)
    assert [quote.text for quote in told.quotes] == list(sample.care.spans)
    evidence = tuple(dict.fromkeys(map(fold, sample.evidence)))
    found, lost = find_quotes(sample.care.spans, open_book(tuple(sample.context)), 0.85, evidence)
    assert {fold(quote.text) for quote in told.quotes if quote.kind == "missing"} == set(lost)
    assert {fold(quote.text) for quote in told.quotes if quote.kind != "missing"} == {quote.text for quote in found}
    scores = {quote.text: quote.score for quote in found}
    ends = [0, *(quote.end for quote in told.quotes)]
    for quote, behind in zip(told.quotes, ends, strict=False):
        assert quote.start > behind  # a quote that is said twice stands in two places
        assert sample.completion[: quote.start].endswith("<retrieval>")
        assert sample.completion[quote.start : quote.end] == quote.text
        if quote.kind != "missing":
            assert quote.place is not None
            assert quote.similarity == scores[fold(quote.text)]
        if fold(quote.text) not in evidence:  # which alone may begin inside a word
            match = locate(quote.text, sample.context)
            assert (match is None) == (quote.kind == "missing")
            if match is not None:
                assert (*quote.place, quote.kind) == (*match[:3], match.kind)
        if quote.kind == "verbatim":
            assert fold(_text(sample, quote.place)) == fold(quote.text)
    for fact in told.facts:
        assert all(fold(_text(sample, place)) == fold(fact.text) for place in fact.places)
    json.dumps(told.as_dict())
    assert "<think>" not in told._repr_html_()
    assert str(told)


@quick
@given(samples("memory_t1"))
def test_memory_values_are_the_scorers(sample: Sample) -> None:
    score, told = MEMORY(sample), explain(sample, MEMORY)
    assert {part.name: part.value for part in told.parts} == dict(score.parts)
    assert [note.id for note in told.sessions if note.selected and note.exists] == [
        session.id for session in sample.sessions if session.id in sample.memory.selected
    ]
    if score.parts["temporal"] is not None and sample.memory.selected:
        worth = [note.value for note in told.sessions if note.selected]
        assert math.fsum(worth) / len(worth) == pytest.approx(score.parts["temporal"])
    assert {note.id for note in told.sessions if note.gold} == {s.id for s in sample.sessions} & set(sample.evidence)
    assert str(told)
    assert told._repr_html_()


def _text(sample: Sample, place: tuple[int, int, int]) -> str:
    return sample.context[place[0]].text[place[1] : place[2]]


def test_a_misquote_names_the_nearest_text_and_what_was_changed() -> None:
    told = explain(quoting("Emma is an 1816 novel by Jane Austen"), CARE)
    (quote,) = told.quotes
    assert quote.kind == "missing"
    assert EMMA[quote.place.start : quote.place.end] == "Emma is an  1815 novel by Jane Austen"
    (change,) = quote.changes
    assert (quote.text[change[0] : change[1]], EMMA[change[2] : change[3]]) == ("1816", "1815")
    assert "not in the passages; nearest: “Emma is an 1815 novel by Jane Austen” in passage 1 (Emma)" in quote.reason
    assert "“1816” for “1815”" in quote.reason
    grounding = next(part for part in told.parts if part.name == "grounding")
    assert grounding.reasons[0] == f"quote 1: {quote.reason}"


def test_a_fuzzy_quote_shows_the_words_that_differ() -> None:
    (quote,) = explain(quoting("a novel by Jane Austen, set in a village of Highbury"), CARE).quotes
    assert quote.kind == "fuzzy"
    differing = [(quote.text[c[0] : c[1]], EMMA[c[2] : c[3]]) for c in quote.changes]
    assert differing == [("a", ""), ("a", "the")]


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ("When was Emma written?", "not in the passages, but in the question, which is no evidence"),
        ("Emma", "verbatim in passage 1 (Emma), but it says too little to count"),
        ("  ", "is empty"),
        ("novel by Jane Austin", "a quote of fewer than 5 words counts only where it is verbatim"),
    ],
)
def test_why_a_quote_does_not_count(span: str, reason: str) -> None:
    (quote,) = explain(quoting(span), CARE).quotes
    assert reason in quote.reason


@pytest.mark.parametrize(
    ("spans", "value", "reasons"),
    [
        (
            ["1815 novel by Jane Austen"],
            1.0,
            ["the gold answer “1815” stands in a quote", "distinct quotes: 1 in the passages"],
        ),
        (
            ["1815 novel by Jane Austen", "so it is"],
            0.5,
            ["the gold answer “1815” stands", "quote 2: not in the passages"],
        ),
        (
            ["the village of Highbury"],
            0.0,
            ["no quote that counts, and says more than that, holds the gold answer “1815”"],
        ),
        ([], 0.0, ["no quote in the think block"]),
    ],
)
def test_why_the_answer_does_or_does_not_stand_in_the_quotes(spans: list, value: float, reasons: list) -> None:
    (part,) = explain(quoting(*spans), weighted(grounding=(1.0, answer_in_quotes()))).parts
    assert part.value == value
    assert all(part.reasons[at].startswith(reason) for at, reason in enumerate(reasons))


def test_why_an_answer_cannot_stand_in_quotes() -> None:
    reward = weighted(grounding=(1.0, answer_in_quotes()))
    (part,) = explain(quoting("1815 novel", golds="1816"), reward).parts
    assert part.reasons == (
        "does not apply: the gold answer “1816” stands nowhere in the passages, or says nothing by itself (yes, no)",
    )
    (part,) = explain(quoting("1815 novel", evidence=["Jane Austen"]), reward).parts
    assert "stands nowhere in the labelled evidence" in part.reasons[0]


def test_copies_and_overlapping_quotes_count_once() -> None:
    told = explain(quoting("1815 novel by Jane Austen", "1815 NOVEL by Jane Austen", "novel by Jane Austen, set"), CARE)
    assert [quote.same_as for quote in told.quotes] == [None, 0, None]
    assert told.quotes[1].reason == "says the same as quote 1, and counts once"
    assert "overlaps quote 1, and they count as one" in told.quotes[2].reason


def test_a_reward_that_judges_no_quotes_still_shows_them() -> None:
    told = explain(quoting("1815 novel by Jane Austen"), weighted(short=(1.0, lambda sample: 0.0)))
    assert told.quotes[0].kind == "verbatim"
    strict = weighted(grounding=(1.0, for_task("", quotes_in_context(threshold=1))))
    assert explain(quoting("an 1815 novel of Jane Austen, set in the"), strict).quotes[0].kind == "missing"


def test_sessions_say_how_far_outside_the_range_they_are() -> None:
    row = Sample(
        task="memory_t1",
        kind="text",
        golds="a dog",
        question="What did Ann adopt?",
        sessions=[
            {"id": "s1", "date": "2024-04-07", "utterances": [{"speaker": "Ann", "text": "", "events": [
                {"summary": "Ann adopted a dog", "start": "2024-03-05", "end": "2024-03-05"}]}]},
            {"id": "s2", "date": "2024-03-07"},
        ],
        time_range=("2024-03-01", "2024-03-31"),
        evidence=["s2"],
        completion='{"selected_memory": ["s1", "s9"], "answer": "a dog"}',
    )  # fmt: skip
    told = explain(row, MEMORY)
    assert [note.reason for note in told.sessions] == [
        "selected; 7 days outside the range; event “Ann adopted a dog” inside the range",
        "not selected, labelled; in the range",
        "selected, but there is no such session",
    ]
    assert [note.value for note in told.sessions] == [0.625, 1.0, temporal_consistency().bounds[0]]


def test_a_logged_score_stands_and_what_would_be_another_says_so() -> None:
    row = quoting("1815 novel by Jane Austen")
    logged = Score(0.5, {"accuracy": 0.5, "format": 1.0, "grounding": 1.0}, 1.0)
    told = explain(row, presets.care(), logged)
    assert (told.total, told.parts[0].value) == (0.5, 0.5)
    assert told.parts[0].reasons[0] == "was logged as 0.5, but gives 1 with this version and these parameters"
    assert told.parts[1].reasons == ("keeps to the format",)


def test_a_part_of_ones_own_is_not_called_for_a_logged_score_and_may_say_its_reasons() -> None:
    def fails(sample: Sample) -> float:
        raise ValueError("called")

    @dataclass(frozen=True)
    class brief:
        def __call__(self, sample: Sample) -> float:
            return 1.0

        def explain(self, sample: Sample) -> list[str]:
            return [f"{len(sample.completion)} characters"]

    reward = weighted(own=(1.0, fails), brief=(1.0, brief()))
    told = explain(Sample(completion="abc"), reward, Score(1.25, {"own": 0.25, "brief": 1.0}, 2.0))
    assert [part.reasons for part in told.parts] == [("own gave 0.25",), ("3 characters",)]


def test_a_failed_part_says_why() -> None:
    def fails(sample: Sample) -> float:
        raise ValueError("no luck")

    score = weighted(on_error="abstain", own=(1.0, fails))(Sample(id="q1"))
    assert "ValueError: no luck" in score.explain().parts[0].reasons[0]


def test_a_score_explains_itself_where_it_was_made() -> None:
    score = CARE(quoting("1815 novel by Jane Austen"))
    assert score.explain().total == score.total
    assert "_source" not in repr(score)
    travelled = pickle.loads(pickle.dumps(score))
    assert travelled == score
    with pytest.raises(RewardError, match="does not know what it was given for"):
        travelled.explain()


def test_nothing_of_a_completion_reaches_html_or_terminal_as_markup() -> None:
    row = quoting("<script>alert(1)</script>", "\x1b[31mred\x07", question="<b>When</b>?")
    told = explain(row, CARE)
    assert "<script" not in told._repr_html_()
    assert "\x1b" not in str(told)
    assert "\x07" not in str(told)


def test_many_quotes_cost_little() -> None:
    row = quoting(*(f"novel number {number} of somebody unknown" for number in range(3000)))
    told = explain(row, CARE)
    assert len(told.quotes) == 1000
    assert sum("nearest" in quote.reason for quote in told.quotes) <= 8
    assert sum("not looked for" in quote.reason for quote in told.quotes) > 900
