from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.data.budget import fit
from rlkit.prompts import chat_prompt


def words(text: str) -> int:
    return len(text.split())


def record(*texts: str, evidence=()):
    return {
        "id": "q",
        "question": "Who?",
        "context": [{"title": "", "text": text} for text in texts],
        "evidence": list(evidence),
    }


def test_a_row_that_fits_stays_as_it_is():
    row = record("a b", "c")
    fitted, told = fit(row, 5, words)
    assert fitted is row
    assert (told.tokens, told.dropped, told.problem) == (5, (), "")


def test_distractors_go_whole_and_evidence_stays_in_place():
    row = record("d1 d1", "d2 d2 d2 d2", "fact one here", "d3", "fact two", evidence=["fact one", "fact two"])
    fitted, told = fit(row, 10, words)
    assert [passage["text"] for passage in fitted["context"]] == ["d1 d1", "fact one here", "d3", "fact two"]
    assert (told.tokens, told.dropped) == (10, (1,))
    assert row["context"][1]["text"] == "d2 d2 d2 d2", "the record that was given stays whole"


def test_one_token_less_drops_another_distractor_and_no_evidence():
    row = record("d1 d1", "d2 d2 d2 d2", "fact one here", "d3", "fact two", evidence=["fact one", "fact two"])
    fitted, told = fit(row, 9, words)
    assert [passage["text"] for passage in fitted["context"]] == ["d1 d1", "fact one here", "fact two"]
    assert told.dropped == (1, 3)


def test_evidence_that_does_not_fit_is_reported_and_nothing_is_cut():
    fitted, told = fit(record("x", "a fact of five words", evidence=["fact of five"]), 6, words)
    assert fitted is None
    assert told.problem == "its evidence alone takes 7 tokens of 6"


def test_without_labelled_evidence_nothing_is_known_to_be_a_distractor():
    fitted, told = fit(record("a b c", "d e f"), 5, words)
    assert fitted is None
    assert told.problem == "takes 8 tokens of 5, and no evidence is labelled, so none may go"
    fitted, told = fit(record("a b c", "d e f", evidence=["a b", "elsewhere"]), 5, words)
    assert fitted is None
    assert "labelled evidence is not in its passages" in told.problem


def test_evidence_in_two_passages_keeps_both():
    fitted, _ = fit(record("the fact", "x x x", "same: the fact", evidence=["the fact"]), 7, words)
    assert len(fitted["context"]) == 2


def test_white_space_inside_evidence_does_not_matter():
    fitted, _ = fit(record("x x x", "the  old\nfact", evidence=["the old fact"]), 5, words)
    assert fitted["context"] == [{"title": "", "text": "the  old\nfact"}]


def test_titles_and_what_surrounds_the_passages_count():
    row = record("a", "fact", evidence=["fact"])
    row["context"][1]["title"] = "The Title"
    assert fit(row, 100, words)[1].tokens == 6
    assert fit(row, 100, words, other_tokens=7)[1].tokens == 13
    assert fit(row, 12, words, other_tokens=7)[0]["context"] == [{"title": "The Title", "text": "fact"}]


def test_each_passage_is_tokenised_once():
    asked = Counter()

    def count(text: str) -> int:
        asked[text] += 1
        return words(text)

    fit(record(*(f"distractor {number}" for number in range(50)), "fact", evidence=["fact"]), 20, count)
    assert max(asked.values()) == 1
    assert sum(asked.values()) == 52


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=12),
    st.integers(0, 60),
)
def test_the_rules_hold_for_any_row(passages, budget):
    texts = [" ".join(["abcdefghijkl"[number]] * size) for number, (size, _) in enumerate(passages)]
    evidence = [text for text, (_, chosen) in zip(texts, passages, strict=True) if chosen]
    row = record(*texts, evidence=evidence)
    fitted, told = fit(row, budget, words)
    if fitted is None:
        assert not evidence or words(" ".join(evidence)) + 2 > budget
        assert told.problem
        return
    kept = [passage["text"] for passage in fitted["context"]]
    assert told.tokens == words(chat_prompt(fitted, system=None)[0]["content"]) <= budget
    assert kept == [text for text in texts if text in kept], "whole passages, in their order"
    assert set(evidence) <= set(kept)
    assert [texts[number] for number in told.dropped] == [text for text in texts if text not in kept]
    assert all(told.tokens + words(texts[number]) > budget for number in told.dropped), "no distractor goes that fits"
