import re
import string
import sys
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rewards.text import bag_f1, fold, fold_case, normalise_answer, same_answer, space, words


def official_normalise(text):
    """The steps of the official SQuAD evaluation, in its order."""
    text = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def official_f1(answer, gold):
    answer, gold = official_normalise(answer).split(), official_normalise(gold).split()
    if not answer or not gold:
        return float(answer == gold)
    same = sum((Counter(answer) & Counter(gold)).values())
    if not same:
        return 0.0
    precision, recall = same / len(answer), same / len(gold)
    return 2 * precision * recall / (precision + recall)


ANSWERS = st.lists(
    st.sampled_from(["the", "The", "a", "an", "Lisbon", "lisbon.", "U.S.", "1,815", "—", "-", "naïve", "ΣΑΣ", "\u0130"])
    | st.text(max_size=5),
    max_size=8,
).map(" ".join)


@settings(deadline=None, max_examples=400)
@given(ANSWERS, ANSWERS)
@example("Lisbon " * 50, "Lisbon")
@example("a\u200bthe", "the_a an-the")
def test_agrees_with_the_official_squad_script(answer, gold):
    assert normalise_answer(answer) == official_normalise(answer)
    if official_normalise(gold):
        assert bag_f1(answer, gold) == pytest.approx(official_f1(answer, gold), abs=1e-12)
        assert same_answer(answer, gold) == (official_normalise(answer) == official_normalise(gold))


@pytest.mark.parametrize("gold", ["A", "a", "The", "an", "!!!", "?", "The The", "a.", "+", "\u00bf?"])
def test_a_gold_that_normalises_to_nothing_can_still_be_given(gold):
    assert bag_f1(gold, gold) == 1.0
    assert same_answer(gold, gold)
    for other in ("", "B", "the letter", "an other", ".", "!"):
        if other.lower() not in (gold.lower(), gold.lower().rstrip(".")):
            assert not same_answer(other, gold), other


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_f1_is_finite_in_range_and_1_for_the_gold_itself(answer, gold):
    assert 0.0 <= bag_f1(answer, gold) <= 1.0
    if gold.strip():
        assert bag_f1(gold, gold) == 1.0
        assert same_answer(gold, gold)


def test_folding_keeps_every_offset_whatever_the_character():
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if len(fold_case(char)) != 1:
            pytest.fail(f"U+{code:04X} changes its length")


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_folding_a_part_gives_the_part_of_the_folded_whole(left, right):
    assert fold_case(left) + fold_case(right) == fold_case(left + right)
    assert fold(fold(left)) == fold(left)


@settings(deadline=None)
@given(st.text(st.sampled_from(" \t\n\x0b\x1c\x85\xa0ab\u2003"), max_size=12), st.sampled_from(["", "x" * 600]))
def test_white_space_folds_alike_in_short_and_long_text(text, tail):
    assert space(text + tail) == " ".join((text + tail).split())


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("He didn’t, did he?", ["he", "didn't", "did", "he"]),
        ("1,815 or 3.5 or 1990s.", ["1815", "or", "3.5", "or", "1990s"]),
        ("B2B 3rd", ["b2b", "3rd"]),
        ("東京 is 首都", ["東", "京", "is", "首", "都"]),
        (" -- ", []),
    ],
)
def test_words(text, keys):
    found = words(text)
    assert [word.key for word in found] == keys
    assert all(text[word.start : word.end] == word.text for word in found)
