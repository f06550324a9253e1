import pickle

import pytest

from rewards.format import care_format
from rewards.sample import Sample

QUOTE = "<retrieval>Emma is an 1815 novel.</retrieval>"
GOOD = f"<think>See {QUOTE}.</think> Answer: 1815"


def rate(completion):
    return care_format()(Sample(completion=completion))


@pytest.mark.parametrize(
    "completion",
    [
        GOOD,
        "\n  " + GOOD + " \n",
        GOOD + "<|im_end|>",
        GOOD + "</s><pad><pad>",
        f"<think>{QUOTE}{QUOTE}</think>\n\nSo the year is clear.\nAnswer: 1815",
        f"<think>Answer: is it 1816? {QUOTE}</think> Answer: 1815",
        f"<think>{QUOTE} <b>not ours</b> </think> Answer: +",
    ],
)
def test_the_format_earns_1(completion):
    assert rate(completion) == 1.0


@pytest.mark.parametrize(
    ("completion", "problem"),
    [
        ("", "0 times <think>"),
        (f"Sure! {GOOD}", "text before <think>"),
        (GOOD.replace("<think>", ""), "0 times <think>"),
        (GOOD.replace("</think>", ""), "<think> is not closed"),
        (f"</think>{GOOD.replace('</think>', '')}", "<think> is not closed"),
        (GOOD.replace("<think>", "<think><think>"), "2 times <think>"),
        (GOOD.replace("</think>", "</think></think>"), "2 times </think>"),
        (f"{GOOD} {GOOD}", "2 times <think>"),
        ("<think>no quote</think> Answer: 1815", "no quote in the think block"),
        ("<think><retrieval></retrieval></think> Answer: 1815", "only empty quotes"),
        ("<think><retrieval> \n</retrieval></think> Answer: 1815", "only empty quotes"),
        ("<think><retrieval>...</retrieval></think> Answer: 1815", "only empty quotes"),
        (f"<think>{QUOTE}<retrieval></think> Answer: 1815", "1 retrieval tags without"),
        (f"<think>{QUOTE}</retrieval></think> Answer: 1815", "1 retrieval tags without"),
        (f"<think>{QUOTE}</think>{QUOTE} Answer: 1815", "2 retrieval tags outside"),
        (f"<think></think>{QUOTE} Answer: 1815", "2 retrieval tags outside"),
        (f"{QUOTE}<think>{QUOTE}</think> Answer: 1815", "2 retrieval tags outside"),
        (f"<think>{QUOTE}</think> 1815", "0 times Answer:"),
        (f"<think>{QUOTE} Answer: 1815</think>", "0 times Answer:"),
        (f"<think>{QUOTE}</think> Answer: \n ", "nothing after Answer:"),
        (f"<think>{QUOTE}</think> Answer: 1815 Answer: 1816", "2 times Answer:"),
    ],
)
def test_each_break_of_the_format_earns_0_and_is_named(completion, problem):
    sample = Sample(completion=completion)
    assert care_format()(sample) == 0.0
    assert any(problem in text for text in sample.care.problems), sample.care.problems


def test_an_empty_quote_beside_a_full_one_is_no_break():
    assert rate(f"<think>{QUOTE}<retrieval></retrieval></think> Answer: 1815") == 1.0


def test_pickles_and_compares():
    assert pickle.loads(pickle.dumps(care_format())) == care_format()
    assert repr(care_format()) == "care_format()"
