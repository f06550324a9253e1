"""What holds for any text: finite scores in range, nothing to gain from markup or repetition, bounded time."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import Sample
from rewards.accuracy import exact_match, token_f1
from rewards.coverage import fact_coverage
from rewards.format import care_format
from rewards.grounding import quotes_in_context
from rewards.quoted_answer import answer_in_quotes

PARTS = (token_f1(), exact_match(), care_format(), quotes_in_context(), answer_in_quotes(), fact_coverage())
EVIDENCE = ("Ana Costa was born in Lisbon in 1956.", "Lisbon did not burn; 1,815 people lived there.")
OTHERS = ("Porto lies in the north of Portugal.", "The river froze in the cold winter of 1963, or so they say.")
ROW = Sample(
    question="Where was Ana Costa born?",
    context=[f"{EVIDENCE[0]} {OTHERS[0]}", f"{OTHERS[1]}\n{EVIDENCE[1]}"],
    golds=["Lisbon", "Lisboa"],
    evidence=EVIDENCE,
)
PHRASES = (*EVIDENCE, *OTHERS, "Ana Costa was", "born in Porto", "in 1957.", "a", "", "Lisbon did burn", ROW.question)
SPANS = st.lists(st.sampled_from(PHRASES) | st.text(max_size=30), max_size=5)
PIECES = st.sampled_from(["<think>", "</think>", "<retrieval>", "</retrieval>", "Answer:", " Lisbon", *PHRASES])
CHAT_ENDINGS = st.lists(
    st.sampled_from(["<|im_end|>", "<|eot_id|>", "<|endoftext|>", "</s>", "<pad>", "<end_of_turn>", "\n"]), max_size=4
).map("".join)


def thinking(spans, answer="Lisbon"):
    return f"<think>{' '.join(f'<retrieval>{span}</retrieval>' for span in spans)}</think> Answer: {answer}"


def scores(completion, row=ROW, parts=PARTS):
    sample = row.with_completion(completion)
    return [part(sample) for part in parts]


@settings(deadline=None, max_examples=200)
@given(st.lists(PIECES | st.text(max_size=12), max_size=14).map("".join))
def test_any_text_scores_finite_and_in_range(completion):
    for value in scores(completion):
        assert math.isfinite(value)
        assert 0.0 <= value <= 1.0


@settings(deadline=None, max_examples=100)
@given(st.lists(PIECES | st.text(max_size=12), max_size=10).map("".join), CHAT_ENDINGS)
def test_appended_chat_tokens_change_nothing(completion, ending):
    assert scores(completion + ending) == scores(completion)


@settings(deadline=None, max_examples=100)
@given(SPANS.filter(bool), st.data())
def test_repeated_quotes_change_nothing(spans, data):
    repeated = data.draw(st.lists(st.sampled_from(spans), max_size=4))
    assert scores(thinking([*spans, *repeated])) == scores(thinking(spans))


@settings(deadline=None, max_examples=100)
@given(SPANS, st.text(max_size=20), st.lists(st.text(max_size=20), max_size=2))
def test_nothing_beats_gold(spans, answer, more):
    best = scores(thinking(EVIDENCE))
    assert best == [1.0] * len(PARTS)
    assert all(value <= top for value, top in zip(scores(thinking([*spans, *more], answer)), best, strict=True))


@settings(deadline=None, max_examples=60)
@given(SPANS.filter(bool))
def test_a_quote_that_overlaps_another_never_pays(spans):
    copies = [" ".join(span.split()[1:]) for span in spans if len(span.split()) > 4]
    with_copies = quotes_in_context()(ROW.with_completion(thinking([*spans, *copies])))
    assert with_copies <= quotes_in_context()(ROW.with_completion(thinking(spans))) + 1e-9


WORDS = " ".join(f"word{i % 977} some{i % 83}" for i in range(4_000))
OPEN, CLOSE = "<retrieval>", "</retrieval>"
HOSTILE = {
    "unclosed quotes": "<think>" + OPEN * 100_000,
    "unclosed thoughts": "<think>" * 100_000,
    "unopened quotes": "<think>" + CLOSE * 100_000,
    "alternating": f"<think></think>{OPEN}{CLOSE}" * 25_000,
    "one letter": "a" * 1_000_000,
    "one bracket": "<" * 1_000_000,
    "half chat tokens": "<|" * 500_000,
    "blanks": "<think>" + OPEN + " \n" * 500_000 + CLOSE,
    "one long quote": thinking(["a" * 1_000_000]),
    "one long quote of words": thinking([WORDS * 16]),
    "one long quote of digits": thinking(["1," * 500_000]),
    "growing letters": thinking(["\u0130" * 500_000]),
    "many quotes": thinking([f"{i} b c" for i in range(30_000)]),
    "many invented quotes": thinking(
        [f"word{i} is some{i} in word{i * 7} and some{i * 3} here" for i in range(14_000)]
    ),
    "many altered quotes": thinking([f"{WORDS[i : i + 3_000]}x" for i in range(300)]),
    "many answers": "<think></think>" + "Answer:" * 140_000,
    "long answer": thinking([], "the " * 250_000),
}


@pytest.mark.parametrize("context", [[WORDS], ["a" * 60_000], ["a " * 30_000]], ids=["words", "one letter", "one word"])
@pytest.mark.parametrize("completion", HOSTILE.values(), ids=HOSTILE)
def test_a_megabyte_of_hostile_text_scores_in_under_half_a_second(completion, context):
    row = Sample(context=context, golds=["Lisbon", context[0][:200].strip()], evidence=[context[0][:200]])
    parts = [part for part in PARTS if type(part) is not quotes_in_context]  # answer_in_quotes does all that it does
    seconds = []
    for _ in range(2):  # the faster of two, in seconds of this process: the machine may be busy with something else
        start = time.process_time()
        values = scores(completion, row, parts)
        seconds.append(time.process_time() - start)
        if seconds[-1] < 0.5:
            break
    assert all(value is None or 0.0 <= value <= 1.0 for value in values)  # an answer of nothing but "a" stands anywhere
    assert min(seconds) < 0.5
