import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from rewards.quotes import MAX_QUOTES, find_quotes, locate, open_book
from rewards.sample import Passage
from rewards.text import fold

LISBON = (
    "Born in 1956 in Lisbon, Ana Costa studied physics at the University of Porto and later moved to Geneva, where she "
    "worked on particle detectors for twenty years."
)
PLAN = "The committee did not approve the plan; in all, 1,815 people signed the petition and 181 people were heard."
COLD = "The temperature fell to 3.5 degrees. He can't swim."
PASSAGES = (Passage(LISBON, "Ana Costa"), Passage(PLAN, "A plan"), Passage(COLD))


def score(quote, passages=PASSAGES, threshold=0.85):
    match = locate(quote, passages, threshold)
    return match.score if match else 0.0


@pytest.mark.parametrize(
    "quote", [LISBON, LISBON.upper(), LISBON.replace(" ", "\n \t"), f"  {LISBON[:57]} ", "3.5 degrees"]
)
def test_white_space_and_case_do_not_matter(quote):
    assert score(quote) == 1.0


@pytest.mark.parametrize(
    "quote",
    [
        "81 people were heard",
        "815 people signed the petition",
        "The temperature fell to 3",
        "5 degrees. He",
        "sburg, in 1956",
        "studied physics at the Univers",
        "He can",
    ],
)
def test_a_quote_must_not_cut_a_word_or_a_number(quote):
    assert locate(quote, PASSAGES, threshold=1) is None


def test_a_later_place_counts_when_the_first_one_cuts_a_word():
    assert score("art of war", [Passage("part of warfare; the art of war")]) == 1.0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1956", "1965"),
        ("1956", "956"),
        ("twenty", "thirty"),
        ("Porto", "Paris"),
        ("Porto", "port"),
        ("Ana", "Eva"),
        ("Ana Costa", "eva costa"),
        ("later", "never"),
        ("and later", "and never later"),
        ("studied", "hardly studied"),
        ("Lisbon", "Porto"),
        (" for twenty years", " for years"),
        (
            "Lisbon, Ana Costa studied physics at the University of Porto",
            "Porto, Ana Costa studied physics at the University of Lisbon",
        ),
    ],
)
def test_a_changed_number_negation_or_name_is_no_quote(old, new):
    changed = LISBON.replace(old, new)
    assert changed != LISBON
    assert fuzz.partial_ratio(fold(changed), fold(LISBON)) >= 85  # near enough, so that only the facts decide
    assert score(changed) == 0.0


@pytest.mark.parametrize(
    "quote", ["Died in 1956 in Lisbon, Ana Costa studied", "Ana Costa studied physics at the University of Rome"]
)
def test_a_change_at_either_end_is_seen_too(quote):
    assert score(quote) == 0.0


@pytest.mark.parametrize(
    ("quote", "least"),
    [
        (LISBON.replace("studied", "learned"), 0.95),
        (LISBON.replace("later ", ""), 0.95),
        (LISBON.replace("studied", "studeid"), 0.98),
        (LISBON.replace(" for twenty years", ""), 0.98),
        (f'"{LISBON}"', 0.98),
        (PLAN.replace("1,815", "1815"), 0.98),
        (PLAN.replace("The committee", "This committee"), 0.98),
    ],
)
def test_other_words_earn_the_similarity(quote, least):
    assert least <= score(quote) < 1.0
    assert score(quote, threshold=1) == 0.0


def test_dropping_the_negation_is_no_quote():
    assert score(PLAN.replace("did not approve", "did approve")) == 0.0
    assert score(PLAN.replace("approve", "disapprove")) == 0.0


def test_a_quote_lies_within_one_passage():
    assert score(f"{LISBON} {PLAN}") == 0.0
    assert score(f"{LISBON[-60:]} {PLAN[:60]}") == 0.0
    assert score("A plan The committee did not approve", PASSAGES, threshold=1) == 0.0


def test_a_passage_inside_a_longer_text_does_not_make_that_text_a_quote():
    assert score("Everybody agreed that Emma wrote it in the end, or so it is told.", [Passage("Emma wrote it")]) == 0.0


def test_titles_are_no_evidence():
    assert locate("A title worth quoting", [Passage("Some text.", "A title worth quoting")]) is None


@pytest.mark.parametrize("quote", ["", " ", "\n"])
def test_nothing_stands_nowhere(quote):
    assert locate(quote, PASSAGES) is None
    assert locate(quote, []) is None
    assert locate("some text here", [Passage("")]) is None


def test_offsets_point_into_the_original_text():
    passages = [Passage("Other."), Passage("  \u0130stanbul\n\n lies   on the\tBosphorus strait .\n")]
    match = locate("lies on the BOSPHORUS", passages)
    assert match is not None
    assert match.kind == "verbatim"
    assert passages[match.passage].text[match.start : match.end] == "lies   on the\tBosphorus"
    match = locate("stanbul lays on the bosphorus strait", passages)
    assert match is None or match.kind == "fuzzy"
    match = locate("\u0130stanbul lays on the Bosphorus strait", passages)
    assert match is not None
    assert match.kind == "fuzzy"
    assert passages[match.passage].text[match.start : match.end] == "\u0130stanbul\n\n lies   on the\tBosphorus strait"


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_every_stretch_between_blanks_is_found_where_it_stands(data):
    pieces = st.lists(
        st.sampled_from(["Ana", "ß", "İ", "1,815", "can't", "  ", "\n", "x.", "東京", "Σ"]), min_size=1, max_size=12
    )
    texts = data.draw(st.lists(pieces.map(" ".join), min_size=1, max_size=3))
    passage = data.draw(st.integers(0, len(texts) - 1))
    tokens = texts[passage].split()
    first = data.draw(st.integers(0, len(tokens)))
    last = data.draw(st.integers(first, len(tokens)))
    quote = " ".join(tokens[first:last])
    match = locate(quote, [Passage(text) for text in texts])
    if not quote:
        assert match is None
    else:
        assert match is not None
        assert match.score == 1.0
        assert fold(texts[match.passage][match.start : match.end]) == fold(quote)


def random_words(count, seed):
    letters = random.Random(seed)
    return ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=letters.randint(2, 9))) for _ in range(count)]


@pytest.mark.parametrize("length", [20, 60, 120, 300])
def test_long_quotes_with_changed_words_are_found_in_long_contexts(length):
    context = random_words(8_000, seed=1)
    quote = context[5_000 : 5_000 + length]
    quote[::20] = ["changed"] * len(quote[::20])
    match = locate(" ".join(quote), [Passage(" ".join(context[:4_000])), Passage(" ".join(context[4_000:]))])
    assert match is not None
    assert match.passage == 1
    assert 0.9 < match.score < 1
    text = " ".join(context[4_000:])
    # The first word is changed, so its counterpart belongs to the place.
    assert text[match.start : match.end] == " ".join(context[5_000 : 5_000 + length])


def test_words_left_out_do_not_push_the_ends_out_of_sight():
    passages = [Passage("Emma is an 1815 comic and rather short novel by Jane Austen.")]
    assert score("Emma is an 1815 comic and short novel by Jane Austen.", passages) > 0.9
    passages = [Passage("Jane Austen wrote a comic and rather short novel named Emma")]
    assert score("Jane Austen wrote a comic and short novel named Emma", passages) > 0.9


def test_a_long_quote_is_judged_as_a_whole():
    context = random_words(2_000, seed=4)
    passages = [Passage(" ".join(context))]
    half_invented = [*context[500:540], *random_words(40, seed=5)]
    assert score(" ".join(half_invented), passages) == 0.0
    worst_at_the_start = [*random_words(30, seed=6), *context[530:800]]
    match = locate(" ".join(worst_at_the_start), passages)
    assert match is not None
    assert abs(match.start - len(" ".join(context[:500]))) < 60
    assert match.end == len(" ".join(context[:800]))


def test_scripts_without_blanks_are_quoted_anywhere():
    assert score("東京は日本の首都", [Passage("彼は言う、東京は日本の首都である。")]) == 1.0


def test_short_quotes_agree_with_rapidfuzz():
    context = random_words(300, seed=2)
    text = " ".join(context)
    chance = random.Random(3)
    judged = 0
    for _ in range(300):
        start = chance.randrange(280)
        quote = list(" ".join(context[start : start + 12]))
        for _ in range(chance.randint(0, 20)):
            quote[chance.randrange(len(quote))] = chance.choice("abcdefgh")
        best = fuzz.partial_ratio("".join(quote), text) / 100
        if abs(best - 0.85) > 0.02:
            judged += 1
            assert (score("".join(quote), [Passage(text)]) > 0) == (best > 0.85), (best, "".join(quote))
    assert judged > 200


def test_only_so_many_quotes_are_looked_up_but_labelled_evidence_always():
    book = open_book((Passage(" ".join(f"w{i} x{i} y{i}." for i in range(200))),))
    spans = [f"w{i} x{i} y{i}." for i in range(200)]
    found, lost = find_quotes(spans, book, 0.85)
    assert (len(found), len(lost)) == (MAX_QUOTES, 200 - MAX_QUOTES)
    found, lost = find_quotes(spans, book, 0.85, map(fold, spans))
    assert (len(found), len(lost)) == (200, 0)
