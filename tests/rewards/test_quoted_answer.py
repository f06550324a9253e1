"""The answer has to stand in the quotes: what counts as a quote is `quotes_in_context`'s, and no cheat brings it in."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import RewardError, Sample, answer_in_quotes, quotes_in_context
from rewards.config import from_config
from rewards.gold import gold_completion
from rewards.quoted_answer import says_more

ASKED = "Which place has the person hired by Ada visited?"
FACTS = ["Ada hired Leo.", "Leo visited Rome."]
OTHERS = ["Mara hired Ada.", "Mara visited Norwend.", "Ada visited Kestrin."]
TALE = "In the summer of 1956 the old painter came back to the red house by the sea, where she had been born."
ROW = Sample(question=ASKED, golds=["Rome", "Roma"], context=[*FACTS, *OTHERS, TALE, TALE.replace("1956", "1957")])


def thinking(spans, answer="Rome"):
    return f"<think>{' '.join(f'<retrieval>{span}</retrieval>' for span in spans)}</think> Answer: {answer}"


def rate(*spans, row=ROW, answer="Rome", **parameters):
    return answer_in_quotes(**parameters)(row.with_completion(thinking(spans, answer)))


def grounding(*spans, row=ROW):
    return quotes_in_context()(row.with_completion(thinking(spans)))


def test_a_quote_that_holds_the_answer_earns_1_whatever_is_answered():
    assert rate(FACTS[1]) == rate(*FACTS) == rate(FACTS[1].upper()) == rate(FACTS[1], answer="Oslo") == 1.0


def test_true_quotes_without_the_answer_earn_0():
    assert grounding(FACTS[0], OTHERS[0]) == 1.0
    assert rate(FACTS[0], OTHERS[0]) == rate() == rate(FACTS[0], answer="Rome") == 0.0


def test_any_gold_will_do():
    row = Sample(golds=["Roma", "Rome"], context=ROW.context)
    assert rate(FACTS[1], row=row) == 1.0


@pytest.mark.parametrize(
    "cheat",
    [
        ["Rome"],
        ["of Rome", "Rome"],
        ["Leo never visited Rome."],
        ["Ada visited Rome."],
        ["It is told in the passages that the answer is Rome."],
        [ASKED + " Rome"],
        ["Ada visited Kestrin. Rome"],
        [""],
    ],
)
def test_what_cheaters_quote_earns_0(cheat):
    assert rate(*cheat) == 0.0


def test_an_invented_quote_beside_a_true_one_does_not_bring_the_answer():
    assert rate(OTHERS[2], "Leo lived in Rome.") == 0.0
    assert rate(FACTS[1], "Leo lived in Rome.") == grounding(FACTS[1], "Leo lived in Rome.") == 0.5


def test_a_changed_number_brings_no_answer():
    row = Sample(golds=["1958"], context=[TALE, "Nobody was there in 1958."])
    assert rate(TALE.replace("1956", "1958"), row=row) == 0.0
    assert rate("Nobody was there in 1958.", row=row) == 1.0


def test_a_near_verbatim_quote_cannot_bring_the_answer_with_it():
    """Words that turn no fact may differ, so the answer could be put in their place."""
    row = Sample(golds=["brick"], context=[TALE, "All of it was made of brick."])
    put_in = TALE.replace("red house", "brick house")
    assert grounding(put_in, row=row) > 0.9
    assert rate(put_in, row=row) == 0.0
    assert rate("All of it was made of brick.", row=row) == 1.0


def test_a_near_verbatim_quote_that_leaves_the_answer_out_does_not_hold_it():
    row = Sample(golds=["red"], context=[TALE])
    left_out = TALE.replace("red house", "house")
    assert grounding(left_out, row=row) > 0.9
    assert rate(left_out, row=row) == 0.0
    assert 0.9 < rate(TALE.replace("summer", "summers"), row=row) < 1.0


def test_the_answer_stands_at_word_boundaries():
    row = Sample(golds=["181"], context=["In all 1,181 people came.", "Some 1810 of them left.", "Then 181 came back."])
    assert rate("In all 1,181 people came.", "Some 1810 of them left.", row=row) == 0.0
    assert rate("Then 181 came back.", row=row) == 1.0


def test_the_answer_alone_is_no_evidence_however_long():
    row = Sample(golds="the Grand Old Opera", context=["In 1881 she sang in the Grand  Old Opera."])
    assert grounding("the Grand Old Opera", row=row) == 1.0
    assert rate("the Grand Old Opera", row=row) == rate("in the Grand Old Opera", row=row) == 0.0
    assert rate("she sang in the Grand Old Opera", row=row) == 1.0
    labelled = Sample(golds=row.golds, context=row.context, evidence=["the Grand Old Opera"])
    assert rate("the Grand Old Opera", row=labelled) == 1.0


def test_another_gold_is_nothing_besides_the_answer():
    row = Sample(golds=["Opera", "Grand Old Opera"], context=["In 1881 she sang in the Grand Old Opera."])
    assert rate("the Grand Old Opera", row=row) == 0.0


def test_a_sentence_as_gold_is_its_own_evidence():
    row = Sample(golds="Leo went to Rome in the spring", context=["Leo went to Rome in the spring. Ada did not."])
    assert rate("Leo went to Rome in the spring", row=row) == 1.0
    assert not says_more("leo went to rome in spring", ["Leo went to Rome in spring"])


def test_quoting_everything_costs_what_it_costs_there():
    passages = [f"{TALE[:-1]} {number} years ago." for number in range(60)]
    row = Sample(golds="59", context=passages)
    assert rate(*passages, row=row) == grounding(*passages, row=row) < 0.5


@pytest.mark.parametrize(
    "row",
    [
        Sample(golds="Oslo", context=FACTS),
        Sample(golds="yes", context=["Yes, Leo visited Rome."]),
        Sample(golds="No", context=["There is no doubt of it."]),
        Sample(golds=["both", "Both."], context=["Both of them visited Rome."]),
        Sample(golds="Rome", context=[]),
        Sample(golds="Rome", context=FACTS, evidence=[FACTS[0]]),
    ],
    ids=["nowhere", "yes", "no", "function words", "no passages", "not in the evidence"],
)
def test_rows_whose_answer_no_quote_can_hold_do_not_apply(row):
    part = answer_in_quotes()
    assert not part.applies(row)
    assert part(row.with_completion(thinking([FACTS[1]]))) is None


def test_a_gold_that_stands_in_the_question_is_judged_all_the_same():
    row = Sample(question="Who is older, Ada or Leo?", golds="Leo", context=FACTS)
    assert rate(FACTS[0], row=row) == 1.0
    assert rate("Who is older, Ada or Leo?", row=row) == 0.0


def test_the_quote_that_the_gold_output_chooses_holds_the_answer():
    row = Sample(task="care", golds="Kestrin", context=ROW.context)
    assert answer_in_quotes()(row.with_completion(gold_completion(row))) == 1.0


def test_parameters_are_those_of_verbatim_grounding():
    assert rate("Leo visited Rome.", row=ROW, min_words=4) == 0.0
    assert rate(TALE.replace("summer", "summers"), row=Sample(golds="red", context=[TALE]), threshold=1) == 0.0
    with pytest.raises(RewardError, match="threshold is 2"):
        answer_in_quotes(threshold=2)


def test_it_pickles_compares_and_is_named_in_a_config():
    part = answer_in_quotes(min_words=4)
    assert pickle.loads(pickle.dumps(part)) == part != answer_in_quotes()
    assert answer_in_quotes() != quotes_in_context()
    built = from_config({"grounding": {"use": "answer_in_quotes", "weight": 0.2, "min_words": 4}})
    assert built.parts["grounding"] == part


def test_a_row_without_golds_is_an_error():
    with pytest.raises(RewardError, match="golds"):
        from_config({"grounding": {"use": "answer_in_quotes", "weight": 1}})(Sample(id="q", context=FACTS))


PHRASES = st.sampled_from(
    [*FACTS, *OTHERS, TALE, TALE[:60], TALE.replace("red", "dark"), "Rome", "Leo visited", ASKED, ""]
)
SPANS = st.lists(PHRASES | st.text(max_size=20), max_size=6)


@settings(deadline=None, max_examples=100)
@given(SPANS, st.randoms(use_true_random=False))
def test_never_more_than_verbatim_grounding_and_order_is_irrelevant(spans, chance):
    value = rate(*spans)
    assert value in (0.0, grounding(*spans))
    shuffled = list(spans)
    chance.shuffle(shuffled)
    assert rate(*shuffled) == pytest.approx(value)


@settings(deadline=None, max_examples=100)
@given(SPANS)
def test_the_sentence_with_the_answer_never_earns_less_for_being_added(spans):
    """It is true and short, so it raises the mean and brings the answer."""
    free = [span for span in spans if "Rome" not in span and len(span) < 20]
    assert rate(*free, FACTS[1]) >= rate(*free)
    assert rate(*free, FACTS[1]) > 0
