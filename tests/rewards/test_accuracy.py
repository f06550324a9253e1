import pickle

import pytest

from rewards import weighted
from rewards.accuracy import exact_match, token_f1
from rewards.errors import RowError
from rewards.sample import Sample


def answered(answer, golds, tail=""):
    return Sample(id="q1", golds=golds, completion=f"<think>Answer: no</think> Answer: {answer}{tail}")


@pytest.mark.parametrize("tail", ["", "<|im_end|>", "<|eot_id|>\n", "</s>", "<|im_end|><pad><pad>", " \n"])
def test_a_perfect_answer_earns_1_however_it_ends(tail):
    assert token_f1()(answered("Lisbon", "Lisbon", tail)) == 1.0
    assert exact_match()(answered("Lisbon", "Lisbon", tail)) == 1.0


def test_normalisation_forgives_case_punctuation_and_articles():
    assert token_f1()(answered("the lisbon.", "Lisbon")) == 1.0
    assert exact_match()(answered("the lisbon.", "Lisbon")) == 1.0
    assert token_f1()(answered("**Lisbon**", "Lisbon")) == 1.0


def test_repeating_the_answer_costs_precision():
    assert token_f1()(answered("Lisbon " * 50, "Lisbon")) == pytest.approx(2 / 51)
    assert exact_match()(answered("Lisbon " * 50, "Lisbon")) == 0.0


def test_the_last_answer_counts():
    assert token_f1()(answered("Lisbon Answer: Porto", "Lisbon")) == 0.0
    assert token_f1()(answered("Porto Answer: Lisbon", "Lisbon")) == 1.0


def test_an_answer_that_is_only_thought_earns_0():
    assert token_f1()(Sample(golds="Lisbon", completion="<think>Answer: Lisbon</think>")) == 0.0
    assert token_f1()(Sample(golds="Lisbon", completion="Answer: Lisbon")) == 0.0
    assert exact_match()(Sample(golds="Lisbon", completion="Lisbon")) == 0.0


@pytest.mark.parametrize(
    ("answer", "golds", "f1"),
    [
        ("7", 7, 1.0),
        ("7", [7, 8], 1.0),
        ("Lisboa", ["Lisbon", "Lisboa"], 1.0),
        ("Lisboa", [["Lisbon", "Lisboa"]], 1.0),
        ("Ada and Leo", ["Ada Leo", "Leo"], 0.8),
        ("A", "A", 1.0),
        ("A.", "A", 1.0),
        ("the", "A", 0.0),
        ("B", "A", 0.0),
        ("!!!", "!!!", 1.0),
        ("A", ["", "A"], 1.0),
    ],
)
def test_golds_of_every_shape(answer, golds, f1):
    assert token_f1()(answered(answer, golds)) == pytest.approx(f1)
    assert exact_match()(answered(answer, golds)) == float(f1 == 1.0)


@pytest.mark.parametrize("part", [token_f1(), exact_match()])
@pytest.mark.parametrize("golds", ["", " ", ["", "\n"]])
def test_blank_golds_are_an_error_that_names_the_row(part, golds):
    with pytest.raises(RowError, match=r"q1.*golds"):
        part(answered("x", golds))


@pytest.mark.parametrize("part", [token_f1(), exact_match()])
def test_missing_golds_are_an_error_that_names_the_row(part):
    with pytest.raises(RowError, match="q1"):
        weighted(accuracy=(1.0, part))(answered("x", []))


@pytest.mark.parametrize("part", [token_f1(), exact_match()])
def test_pickles_and_compares(part):
    assert pickle.loads(pickle.dumps(part)) == part
    assert repr(part) == f"{type(part).__name__}()"
