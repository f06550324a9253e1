import pickle

import pytest

from rewards.errors import RewardError
from rewards.grounding import quotes_in_context
from rewards.sample import Sample

LISBON = "Born in 1956 in Lisbon, Ana Costa studied physics at the University of Porto."
PLAN = "The committee did not approve the plan, and 1,815 people signed a petition against it."
COLD = "In the following winter the temperature fell to 3.5 degrees and the river froze over."
FILLER = [
    f"Passage {i} speaks of other things that happened in the year {1000 + i} in a far country." for i in range(30)
]
QUESTION = "In which city was Ana Costa born?"
ROW = Sample(question=QUESTION, context=[LISBON, PLAN, COLD, *FILLER])


def thinking(*spans):
    quotes = " and ".join(f"<retrieval>{span}</retrieval>" for span in spans)
    return f"<think>I read {quotes}.</think> Answer: Lisbon"


def rate(*spans, row=ROW, **parameters):
    return quotes_in_context(**parameters)(row.with_completion(thinking(*spans)))


def test_verbatim_quotes_earn_1():
    assert rate(LISBON) == rate(LISBON, PLAN) == rate(LISBON.upper(), f"\n{PLAN} ") == 1.0


def test_no_quote_earns_0():
    assert rate() == 0.0
    assert quotes_in_context()(ROW.with_completion("")) == 0.0


def test_quotes_outside_the_thought_earn_0():
    quote = f"<retrieval>{LISBON}</retrieval>"
    assert quotes_in_context()(ROW.with_completion(f"{quote}<think></think>{quote} Answer: Lisbon")) == 0.0


def test_the_mean_over_distinct_quotes():
    invented = "Ana Costa was a famous painter"
    assert rate(LISBON, invented) == 0.5
    assert rate(LISBON, PLAN, invented) == pytest.approx(2 / 3)
    assert rate(LISBON, LISBON, LISBON.upper(), invented) == 0.5
    assert rate(LISBON, invented, invented) == 0.5


@pytest.mark.parametrize(
    "cheat",
    [
        QUESTION,
        "a",
        "the",
        "",
        ".",
        "of the",
        "Lisbon",
        "Answer with quotes from the passages",
        LISBON.replace("1956", "1957"),
        LISBON.replace("Lisbon", "Porto"),
        LISBON.replace("studied", "never studied"),
        PLAN.replace("did not approve", "did approve"),
        "815 people signed a petition",
    ],
)
def test_what_cheaters_quote_earns_0(cheat):
    assert rate(cheat) == 0.0
    assert rate(LISBON, cheat) <= 0.5


def test_changed_words_earn_less_than_the_honest_quote():
    assert 0.9 < rate(LISBON.replace("studied", "learned")) < 1.0
    assert rate(LISBON.replace("studied", "learned"), threshold=1) == 0.0


def test_prompt_and_title_are_no_evidence():
    row = Sample(
        prompt="Quote from the passages word for word.", context=[{"title": "A title to be quoted", "text": LISBON}]
    )
    assert rate("Quote from the passages word for word.", row=row) == 0.0
    assert rate("A title to be quoted", row=row) == 0.0


def test_quoting_everything_costs():
    context = " ".join(passage.text for passage in ROW.context)
    assert rate(context) == 0.0  # no quote lies in two passages
    assert rate(*(passage.text for passage in ROW.context)) < 0.4
    assert rate(context, row=Sample(context=[context])) < 0.4
    labelled = Sample(context=ROW.context, evidence=[LISBON])
    assert rate(*(passage.text for passage in ROW.context), row=labelled) < 0.1


@pytest.mark.parametrize("evidence", [[], [LISBON], [LISBON, PLAN]])
def test_each_further_needless_quote_costs_more_once_the_allowance_is_used_up(evidence):
    row = Sample(context=ROW.context, evidence=evidence)
    scores = [rate(LISBON, PLAN, *FILLER[:count], row=row) for count in range(20)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.6


def test_labelled_evidence_is_never_too_much():
    row = Sample(context=ROW.context, evidence=[passage.text for passage in ROW.context])
    assert rate(*row.evidence[:64], row=row) == 1.0
    row = Sample(context=["Pick Me Up! Lisbon. Other words follow here."], evidence=["Lisbon.", "Pick Me Up!"])
    assert rate(*row.evidence, row=row) == 1.0


def test_labelled_evidence_may_stand_inside_a_word():
    row = Sample(context=["First sentence here.Second sentence here.Third"], evidence=["Second sentence here"])
    assert rate("Second sentence here", row=row) == 1.0
    row = Sample(context=["It is so very coldSecond sentence hereThird"], evidence=["Second sentence here"])
    assert rate("Second sentence here", row=row) == 1.0


def test_short_contexts_may_be_quoted_whole():
    assert rate("Emma is a novel by Jane Austen.", row=Sample(context="Emma is a novel by Jane Austen.")) == 1.0
    long_sentence = "The " + "very " * 70 + "long sentence stands alone."
    assert rate(long_sentence, row=Sample(context=[long_sentence])) == 1.0


def test_text_without_full_stops_is_no_sentence():
    words = " ".join(f"word{i}" for i in range(200))
    assert rate(words, row=Sample(context=[words])) < 0.5


def test_a_little_more_than_the_evidence_is_free():
    row = Sample(context=[*ROW.context, "So it was in those days, they say."], evidence=[LISBON, PLAN, COLD])
    assert rate(LISBON, PLAN, COLD, "So it was in those days, they say.", row=row) == 1.0


def test_in_a_tiny_context_quoting_everything_costs_too():
    facts = ["Ada hired Leo.", "Leo visited Fenwick.", "Mara praised Kelmore.", "Ada visited Kestrin."]
    row = Sample(context=[" ".join(facts)], evidence=[facts[1]])
    assert rate(facts[1], row=row) == 1.0
    assert rate(*facts, row=row) < 0.5
    assert rate(" ".join(facts), row=row) < 0.5


def test_in_a_tiny_context_three_sentences_are_free_where_nothing_is_labelled():
    facts = [
        f"{name} visited Fenwick." for name in ("Anna", "Boris", "Carla", "Dylan", "Elena", "Farah", "Greta", "Jonas")
    ]
    row = Sample(context=facts)
    assert rate(*facts[:3], row=row) == 1.0
    assert rate(*facts, row=row) < 0.5
    assert sum(map(len, facts)) < 200  # which are free where sentences are longer
    longer = Sample(
        context=[
            f"{fact[:-1]}, where it rained without an end in the winter before the last one." for fact in facts[:4]
        ]
    )
    assert rate(*(passage.text for passage in longer.context[:2]), row=longer) == 1.0


def test_invented_text_counts_as_quoted_too():
    assert rate(LISBON, "invented " * 10) == 0.5
    assert rate(LISBON, "invented " * 1_000) < 0.1


def test_shifted_copies_of_one_quote_count_once():
    copies = [LISBON, LISBON[:-7], LISBON[8:], LISBON[16:], LISBON[24:-7]]
    assert rate(*copies) == 1.0
    assert rate(*copies, "Ana Costa was a famous painter") == 0.5
    worse = LISBON.replace("studied", "learned")
    assert rate(worse, *copies) == rate(worse)


def test_sentences_side_by_side_count_each():
    row = Sample(context=[f"{LISBON} {PLAN}", *FILLER])
    assert rate(LISBON, PLAN, "made up from nothing", row=row) == pytest.approx(2 / 3)


@pytest.mark.parametrize("min_words", [0, 3, 5, 6])
def test_the_least_number_of_words(min_words):
    assert rate("Ana Costa studied physics at", min_words=min_words) == float(min_words <= 5)


EMPTY_TALK = "It is one of the best, and is not a copy: most of the of the sort is known for its it’s and they didn't."


@pytest.mark.parametrize(
    "cheat",
    ["is not a", "one of the", "of the of the", "is known for its", "is one of the best", "it’s and they didn't"],
)
def test_spans_of_function_words_say_nothing(cheat):
    row = Sample(context=[EMPTY_TALK, LISBON])
    assert rate(cheat, row=row) == 0.0
    assert rate(LISBON, cheat, row=row) == 0.5
    assert rate(cheat, row=Sample(context=row.context, evidence=[cheat])) == 1.0  # what is labelled says enough


def test_two_words_that_tell_something_are_enough():
    row = Sample(context=[EMPTY_TALK, LISBON, "她出生于里斯本。"])
    assert rate("is not a copy: most of the of the sort", row=row) == 1.0
    assert rate("born in 1956", row=row) == rate("1956 in Lisbon", row=row) == rate("出生于里斯本", row=row) == 1.0
    assert rate("Lisbon", row=row, min_words=1) == 1.0  # no more is asked than the caller asks
    assert rate("is a", row=Sample(context=["It is a town."]), min_words=1) == 0.0


def test_rows_without_passages_do_not_apply():
    for context in ([], [""], ["  \n"]):
        sample = Sample(context=context, completion=thinking("a b c"))
        assert not quotes_in_context().applies(sample)
        assert quotes_in_context()(sample) is None


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"threshold": 0}, "threshold is 0"),
        ({"threshold": 85}, "threshold is 85"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"threshold": "0.85"}, "threshold is '0.85'"),
        ({"max_share": -1}, "max_share is -1"),
        ({"min_words": -1}, "min_words is -1"),
        ({"min_words": 2.5}, "min_words is 2.5"),
        ({"max_quoted_chars": True}, "max_quoted_chars is True"),
    ],
)
def test_wrong_parameters_are_refused(parameters, words):
    with pytest.raises(RewardError, match=words):
        quotes_in_context(**parameters)


def test_pickles_compares_and_prints_its_config():
    part = quotes_in_context(threshold=0.9)
    assert pickle.loads(pickle.dumps(part)) == part != quotes_in_context()
    assert repr(part).startswith("quotes_in_context(threshold=0.9, min_words=3")
