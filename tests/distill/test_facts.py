"""Facts in a rewritten reasoning: found, made verbatim, tagged, and never one inside another."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.distill.facts import find_facts, tag_facts, verbatim_facts

FACT = "Ann Lee moved to Kelmore in March 1984 (for good)."
WORDS = ("ann", "Leo", "Kelmore", "1984", "never", "house", "old", "the", "of", "river", "not", "seven")


def tagged(text: str, *facts: str, similarity: float = 0.85) -> str | None:
    placed = find_facts(text, facts, similarity)
    return None if placed.missing or placed.inside else tag_facts(text, placed.places)


def test_an_aligned_fact_is_replaced_with_the_marks_around_it() -> None:
    text = "It says: Ann Lee had moved to Kelmore in March 1984 (for good). So it was then."
    assert tagged(text, FACT) == f"It says: <retrieval>{FACT}</retrieval> So it was then."


def test_another_number_name_or_negation_is_another_fact() -> None:
    for old, new in (("1984", "1985"), ("Kelmore", "Fenwick"), ("moved", "never moved"), ("March", "May")):
        assert tagged(f"It says: {FACT.replace(old, new)}", FACT) is None


def test_similarity_1_takes_no_other_words() -> None:
    text = f"It says: {FACT.replace('moved', 'had moved')}"
    assert tagged(text, FACT) is not None
    assert tagged(text, FACT, similarity=1.0) is None


def test_of_two_facts_in_one_place_the_shorter_needs_another() -> None:
    short = "Ann Lee moved to Kelmore"
    assert find_facts(f"See: {FACT}", [short, FACT], 0.85).inside == [short]
    assert tagged(f"{short}. See: {FACT}", FACT, short) == (
        f"<retrieval>{short}</retrieval>. See: <retrieval>{FACT}</retrieval>"
    )


def test_facts_that_follow_one_another() -> None:
    first, second = "Leo is a sailor of old.", "Kelmore lies at the river."
    assert tagged(f"{first} {second}", second, first) == (
        f"<retrieval>{first}</retrieval> <retrieval>{second}</retrieval>"
    )


def test_facts_are_quoted_as_the_passages_write_them() -> None:
    record = {
        "evidence": ["ann lee  moved.", "Leo stayed.", "Nobody came."],
        "context": [{"title": "", "text": "Ann Lee\nmoved. Leo stayed."}],
    }
    assert verbatim_facts(record) == ["Ann Lee\nmoved.", "Leo stayed.", ""]


sentences = st.lists(st.sampled_from(WORDS), min_size=3, max_size=9).map(lambda words: " ".join(words) + ".")


@given(st.lists(sentences, min_size=1, max_size=4, unique=True), st.lists(sentences, max_size=4), st.randoms())
@settings(deadline=None, max_examples=60)
def test_whatever_the_text_tags_are_flat_and_hold_facts_only(facts: list[str], others: list[str], draw) -> None:
    parts = [*facts, *others]
    draw.shuffle(parts)
    text = " ".join(parts)
    placed = find_facts(text, facts, 0.85)
    assert sorted([place.fact for place in placed.places] + placed.missing + placed.inside) == sorted(facts)
    result = tag_facts(text, placed.places)
    spans = re.findall(r"<retrieval>(.*?)</retrieval>", result)
    assert all("<retrieval>" not in span for span in spans)
    assert sorted(spans) == sorted(place.fact for place in placed.places)
    assert not placed.missing  # they stand there word for word, if only inside another
